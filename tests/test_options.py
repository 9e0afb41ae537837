"""Reading option files safely, and refusing what cannot be run before anything is touched."""

import copy

import pytest
import yaml

from constyle_arch.errors import OptionsError
from constyle_arch.options import complete_datasets, force_options, read_option_file
from constyle_arch.preflight import check_options
from tests.conftest import run_command, training_options, write_options, write_pairs


def read(tmp_path, text):
    path = tmp_path / "options.yml"
    path.write_text(text)
    return read_option_file(str(path))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("3E4", 30000.0),
        ("!!float 2e2", 200.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("16", 16),
        ("~", None),
        ("1e", "1e"),
        ("1.2-demo", "1.2-demo"),
        ("2024.05.01/lq", "2024.05.01/lq"),
    ],
)
def test_numbers_are_read_as_meant(tmp_path, text, value):
    assert read(tmp_path, f"lr: {text}") == {"lr": value}


def test_yaml_runs_no_code(tmp_path):
    marker = tmp_path / "marker"
    with pytest.raises(OptionsError, match="cannot be read"):
        read(tmp_path, f"x: !!python/object/apply:os.system ['touch {marker}']")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "the key 'a' stands twice"),
        ("a: [1", "cannot be read"),
        ("- a", "must be a mapping"),
        ("", "must be a mapping"),
    ],
)
def test_unreadable_files_are_explained(tmp_path, text, message):
    with pytest.raises(OptionsError, match=message):
        read(tmp_path, text)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(OptionsError, match=r"nowhere\.yml does not exist"):
        read_option_file(str(tmp_path / "nowhere.yml"))


def test_forced_options_replace_those_of_the_file(capsys):
    options = {"train": {"lr": 1.0, "betas": [0.9]}, "name": "x", "flag": True}
    force_options(options, ["train:lr=1e-4", "train:betas=[0.9, 0.99]", "name=none", "flag=false", "train:new=a{}"])
    assert options == {"train": {"lr": 1e-4, "betas": [0.9, 0.99], "new": "a{}"}, "name": None, "flag": False}
    assert "adds train:new" in capsys.readouterr().out


def test_merge_keys_are_read(tmp_path):
    text = "base: &base {a: 1, b: 2}\nmore: {<<: *base, b: 3}"
    assert read(tmp_path, text) == {"base": {"a": 1, "b": 2}, "more": {"a": 1, "b": 3}}


@pytest.mark.parametrize("entry", ["train", "trian:lr=1", "name:x=1", "a=[1"])
def test_wrong_forced_options_are_refused(entry):
    with pytest.raises(OptionsError, match="--force_yml"):
        force_options({"train": {"lr": 1.0}, "name": "x"}, [entry])


def test_forced_options_run_no_code(tmp_path):
    marker = tmp_path / "marker"
    injection = f'name"]=1;__import__("pathlib").Path("{marker}").touch()#'
    options = {"name": "x"}
    force_options(options, [f"{injection}=1", f"name=[__import__('pathlib').Path('{marker}').touch()]"])
    assert not marker.exists()


def broken(options, path, value):
    """`options` with the value at `path` (keys joined by dots) replaced, or removed for the value `...`."""
    options = copy.deepcopy(options)
    *parents, last = path.split(".")
    place = options
    for key in parents:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return options


BROKEN = [
    ("num_gpu", ..., "num_gpu is missing"),
    ("num_gpu", 1, "finds no GPU"),
    ("name", ..., "name is missing"),
    ("train", ..., "train is missing"),
    ("datasets", ..., "datasets is missing"),
    ("datasets.train", ..., "datasets.train is missing"),
    ("network_g.type", "ConStyleRestorme", "network_g.type is 'ConStyleRestorme', which is not registered"),
    ("network_g.dim", 7, "dim is 7"),
    ("network_g.dmi", 8, "unexpected keyword argument 'dmi'"),
    ("model_type", "NoModel", "model_type is 'NoModel'"),
    ("datasets.train.type", "NoData", "datasets.train.type is 'NoData'"),
    ("datasets.train.gt_size", 400, "smaller than the crops of gt_size 400"),
    ("datasets.train.batch_size_per_gpu", 0, "batch_size_per_gpu is 0"),
    ("datasets.train.batch_size_per_gpu", 1, "at least 2 images"),
    ("datasets.train.num_worker_per_gpu", None, "num_worker_per_gpu is None"),
    ("train.total_iter", "many", "train.total_iter is 'many'"),
    ("train.optim_g.type", "AdmaW", "train.optim_g.type is 'AdmaW'"),
    ("train.optim_g.lr", "fast", "train.optim_g"),
    ("train.scheduler.type", "Cosine", "train.scheduler.type is 'Cosine'"),
    ("train.scheduler.periods", [1, 1], "end after 2 of 4 iterations"),
    ("train.scheduler.eta_mins", [1], "must be of one length"),
    ("train.style_opt.loss_wieght", 2, "train.style_opt: "),
    ("train.contrast", {"queue_sise": 3}, "train.contrast: "),
    ("train.contrast", {"positive": "dirty"}, "train.contrast.positive is 'dirty'"),
    ("train.contrast", {"positive": "degraded"}, "needs datasets.train.second_crop"),
    ("train.contrast", {"momentum": 3}, "momentum is 3"),
    ("train.mixing_augs", {"mixup": True, "beta": 1}, "train.mixing_augs.beta is not an option"),
    ("network_g", {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3}, "train it with model_type RestorationModel"),
    ("datasets.train", [1], "datasets.train is [1]; it must be a section"),
    ("datasets", [1], "datasets is [1]; it must be a section"),
    ("datasets.train.batch_size_per_gpu", 4.0, "without a decimal point"),
    ("datasets.train.dataset_enlarge_ratio", 0, "dataset_enlarge_ratio is 0"),
    ("datasets.train.prefetch_mode", "gpu", "prefetch_mode is 'gpu'"),
    ("datasets.val_2", {"name": "pairs", "type": "PairedRestorationDataset"}, "two sets to measure on called 'pairs'"),
    ("manual_seed", "x", "manual_seed is 'x'"),
    ("train.ema_decay", "x", "train.ema_decay is 'x'"),
    ("train.constyle_iter", "abc", "train.constyle_iter is 'abc'"),
    ("train.grad_clip_norm", 0, "train.grad_clip_norm is 0"),
    ("train.contrast", "x", "train.contrast is 'x'"),
    ("train.optim_g", "AdamW", "train.optim_g is 'AdamW'"),
    ("train.optim_g.type", "LBFGS", "train.optim_g: "),
    ("train.scheduler", "x", "train.scheduler is 'x'"),
    ("train.scheduler", {"type": "ReduceLROnPlateau"}, "train.scheduler: "),
    ("train.scheduler.periods", 100, "train.scheduler: "),
    ("train.mixing_augs", {"mixup": "false"}, "train.mixing_augs.mixup is 'false'"),
    ("train.pixel_opt", None, "no pixel_opt to go on with"),
    ("val.metrics.psnr", "calculate_psnr", "val.metrics.psnr is 'calculate_psnr'"),
    ("val.metrics.psnr.crop_border", ..., "crop_border"),
    ("path.pretrain_network_g", 5, "path.pretrain_network_g is 5"),
    ("name", "../precious", "name is '../precious'; it must be a folder's name"),
    ("name", "", "name is ''"),
    ("datasets.val.name", "../up", "datasets.val.name is '../up'"),
    (
        "path.pretrain_netwrk_g",
        None,
        "path.pretrain_netwrk_g is not an option that is read; did you mean pretrain_network_g?",
    ),
    ("train.ema_deacy", 0.9, "did you mean ema_decay?"),
    ("train.constyle_itr", 2, "did you mean constyle_iter?"),
    ("datasets.train.use_hfilp", True, "did you mean use_hflip?"),
    ("logger.save_ckpt_freq", 5, "did you mean save_checkpoint_freq?"),
    ("train.optim_g.lr", ..., "train.optim_g.lr is missing"),
    ("train.pixel_opt.reduction", "none", "train.pixel_opt: it does not give a single number"),
    ("train.pixel_opt", {"type": "InfoNCELoss"}, "train.pixel_opt: "),
    ("train.style_opt", {"type": "L1Loss"}, "train.style_opt: "),
    ("val.metrics.psnr.better", "lowr", "better is 'lowr'"),
    ("manual_seed", -5, "manual_seed is -5"),
    ("network_g", {"type": "ConStyle"}, "it does not turn an image into one of the same size"),
    ("train.style_opt.type", "Style", "train.style_opt.type is 'Style'"),
    ("logger.print_freq", ..., "logger.print_freq is missing"),
    ("val.metrics.psnr.type", "psnr", "val.metrics.psnr.type is 'psnr'"),
    ("val.val_freq", 0, "val.val_freq is 0"),
    ("path.pretrain_network_g", "no.pth", "the file no.pth does not exist"),
]


def check(tmp_path, options):
    """Run the command, expecting a refusal that leaves the directory as it was; returns what it printed."""
    file = write_options(tmp_path / "run.yml", options)
    before = sorted(tmp_path.rglob("*"))
    result = run_command("train", "-opt", file, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(tmp_path.rglob("*")) == before
    return result.stderr


@pytest.mark.parametrize(("path", "value", "message"), BROKEN, ids=[f"{path}={value}" for path, value, _ in BROKEN])
def test_options_that_cannot_run_are_reported(ten_pairs, path, value, message):
    options = broken(training_options(ten_pairs, ten_pairs, constyle_iter=2), path, value)
    options |= {"is_train": True, "dist": False}
    complete_datasets(options)
    with pytest.raises(OptionsError) as error:
        check_options(options)
    assert message in str(error.value)


def test_all_problems_stand_in_one_report_and_nothing_is_created(tmp_path, ten_pairs):
    options = training_options(ten_pairs, ten_pairs)
    options["network_g"]["type"] = "NoNet"
    options["train"]["optim_g"]["type"] = "NoOptimizer"
    options["datasets"]["val"]["dataroot_lq"] = str(tmp_path / "nowhere")
    report = check(tmp_path, options)
    assert "network_g.type is 'NoNet'" in report
    assert "train.optim_g.type is 'NoOptimizer'" in report
    assert f"datasets.val: dataroot_lq: the folder {tmp_path / 'nowhere'} does not exist" in report


def test_missing_data_set_names_folder_option_and_section_and_keeps_the_old_experiment(tmp_path):
    from tests.conftest import REPOSITORY

    old = tmp_path / "experiments" / "dehaze_constyle_restormer" / "models"
    old.mkdir(parents=True)
    (old / "net_g_latest.pth").write_text("weeks of work")
    options = yaml.safe_load((REPOSITORY / "options" / "dehaze_constyle_restormer.yml").read_text())
    report = check(tmp_path, options)
    for name, option, folder in (
        ("OTS", "datasets.train: dataroot_gt", "OTS/prepared/train/gt.lmdb"),
        ("SOTS", "datasets.val: dataroot_gt", "SOTS/prepared/test/gt.lmdb"),
    ):
        assert f"{option}: the folder datasets/{folder} does not exist" in report
        assert f'`basicsr prepare {name.lower()}` writes it; see datasets/README.md, section "{name}"' in report
        assert f"\n## {name}\n" in (REPOSITORY / "datasets" / "README.md").read_text()


def test_damaged_training_image_is_reported_before_the_run(tmp_path):
    data = write_pairs(tmp_path / "data", 3)
    (data / "lq" / "002.png").write_bytes(b"broken")
    report = check(tmp_path, training_options(data))
    assert "002.png cannot be decoded" in report
