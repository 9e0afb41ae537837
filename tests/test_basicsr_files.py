"""What people have from BasicSR works as it is: its data sets' options, its option files, its
scripts."""

import sys
from types import SimpleNamespace

import cv2
import pytest
import torch
from basicsr.data.paired_image_dataset import PairedImageDataset

import constyle_arch
from constyle_arch.data.paired_restoration_dataset import PairedRestorationDataset
from constyle_arch.errors import DataError
from constyle_arch.options.preflight import check_options
from constyle_arch.options.reading import complete_datasets, read_option_file
from tests.networks import built
from tests.processes import run_command
from tests.shared import keys, training_options, write_options, write_pairs


@pytest.fixture
def numbered(tmp_path):
    """Four pairs whose degraded names end in x2, and a list of three of them as BasicSR writes
    it."""
    data = write_pairs(tmp_path / "data", 4)
    for path in (data / "lq").iterdir():
        path.rename(path.with_stem(f"{path.stem}x2"))
    (tmp_path / "meta.txt").write_text("003.png (24,24,3)\n000.png (24,24,3)\n001.png (24,24,3)\n")
    return data


def section_of_basicsr(data, **more):
    """A validation set as BasicSR's files have it."""
    roots = {f"dataroot_{side}": str(data / side) for side in ("gt", "lq")}
    section = {"name": "Set", "phase": "val", "scale": 1, **roots, "io_backend": {"type": "disk"}}
    return section | {"filename_tmpl": "{}x2", "use_shuffle": True, **more}


@pytest.mark.parametrize("listed", [False, True])
def test_changing_the_type_of_a_data_set_of_basicsrs_is_enough(tmp_path, numbered, listed):
    more = {"meta_info_file": str(tmp_path / "meta.txt")} if listed else {}
    section = section_of_basicsr(numbered, **more)
    theirs, ours = PairedImageDataset(dict(section)), PairedRestorationDataset(dict(section))
    of_theirs = {theirs[index]["gt_path"]: theirs[index] for index in range(len(theirs))}
    assert len(ours) == len(of_theirs) == (3 if listed else 4)
    for index in range(len(ours)):
        item = ours[index]
        assert item["lq_path"] == of_theirs[item["gt_path"]]["lq_path"]
        assert item["lq"].equal(of_theirs[item["gt_path"]]["lq"])


def test_images_that_a_list_of_basicsrs_has_and_a_folder_lacks_are_named(tmp_path, numbered):
    (numbered / "lq" / "001x2.png").unlink()
    (tmp_path / "meta.txt").write_text("001.png (24,24,3)\n007.png (24,24,3)\n")
    section = section_of_basicsr(numbered, meta_info_file=str(tmp_path / "meta.txt"))
    missing = r"2 images that .*meta\.txt lists are not in .*'\{\}x2': 001, 007"
    with pytest.raises(DataError, match=missing):
        PairedRestorationDataset(section)
    unreadable = r"meta_info_file: .*gone\.txt cannot be read: No such file"
    with pytest.raises(DataError, match=unreadable):
        PairedRestorationDataset(section_of_basicsr(numbered, meta_info_file="gone.txt"))


def test_wandb_is_given_what_tensorboard_is(monkeypatch):
    """wandb itself is not installed for the tests; these are the arguments of its `init`."""
    import basicsr.train

    given = []
    wandb = SimpleNamespace(init=lambda **arguments: given.append(arguments))
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    constyle_arch.register()
    options = {"name": "mine", "logger": {"wandb": {"project": "rain", "resume_id": None}}}
    basicsr.train.init_wandb_logger(options)
    options["logger"]["wandb"]["resume_id"] = "a1b2"
    basicsr.train.init_wandb_logger(options)
    said = [(one["project"], one["name"], one["sync_tensorboard"]) for one in given]
    assert said == [("rain", "mine", True)] * 2
    assert [(one["id"], one["resume"]) for one in given] == [(None, None), ("a1b2", "allow")]


def test_wandb_that_is_not_installed_is_said(monkeypatch, ten_pairs):
    from constyle_arch.options import combinations

    options = training_options(ten_pairs)
    options["logger"]["wandb"] = {"project": "rain"}
    monkeypatch.setattr(combinations, "find_spec", lambda name: None)
    problems = list(combinations._check_logger(options))
    assert "wandb is not installed: pip install wandb" in problems[0]
    assert "use_tb_logger: true" in problems[1]
    options["logger"]["wandb"] = {"project": None}
    assert list(combinations._check_logger(options)) == []


SRRESNET = keys("num_in_ch: 3, num_out_ch: 3, num_feat: 64, num_block: 16")
MEANS = keys("res_scale: 1, img_range: 255.0, rgb_mean: [0.4488, 0.4371, 0.4040]")
SWINIR = keys(
    "type: SwinIR, upscale: 4, in_chans: 3, img_size: 48, window_size: 8, img_range: 1.0, "
    "depths: [6, 6, 6, 6, 6, 6], embed_dim: 180, num_heads: [6, 6, 6, 6, 6, 6], mlp_ratio: 2, "
    "upsampler: pixelshuffle, resi_connection: 1conv"
)
LARGE = keys("type: EDSR, num_feat: 256, num_block: 32, upscale: 4")
RCAN = keys("type: RCAN, num_group: 10, num_block: 20, squeeze_factor: 16, upscale: 4")
COMPACT = keys("type: SRVGGNetCompact, num_in_ch: 3, num_out_ch: 3, num_conv: 32, upscale: 4")
ECBSR = keys(
    "type: ECBSR, num_in_ch: 1, num_out_ch: 1, num_block: 4, num_channel: 16, with_idt: false, "
    "act_type: prelu, scale: 4"
)

NETWORKS = {
    **{f"MSRResNet_x{n}": {"type": "MSRResNet", **SRRESNET, "upscale": n} for n in (2, 3, 4)},
    **{f"EDSR_M_x{n}": {"type": "EDSR", **SRRESNET, **MEANS, "upscale": n} for n in (2, 3, 4)},
    "EDSR_L_x4": {**SRRESNET, **MEANS, **LARGE},
    "RCAN_x4": {**SRRESNET, **MEANS, **RCAN},
    "RRDBNet_x4": {"type": "RRDBNet", **SRRESNET, "num_block": 23},
    "SRVGGNetCompact_x4": COMPACT,
    "SwinIR_x4": SWINIR,
    "ECBSR_x4": ECBSR,
}
"""Of BasicSR's own option files for super-resolution without a discriminator, which would load
VGG's weights."""


def file_of_basicsr(name, data):
    """The option file, written again here; only its paths, and the CPU, are the test's."""
    network, scale = NETWORKS[name], int(name[-1])
    roots = {f"dataroot_{side}": str(data / side) for side in ("gt", "lq")}
    section = {"type": "PairedImageDataset", **roots, "io_backend": {"type": "disk"}}
    section |= {"color": "y"} if "ECBSR" in name else {}
    train = {"name": "DIV2K", **section, "filename_tmpl": "{}", "gt_size": 48 * scale}
    train |= keys("use_hflip: true, use_rot: true, use_shuffle: true, num_worker_per_gpu: 6")
    train |= keys("batch_size_per_gpu: 16, dataset_enlarge_ratio: 100, prefetch_mode: ~")
    cosine = {"type": "CosineAnnealingRestartLR", "periods": [250000] * 4}
    cosine |= {"restart_weights": [1] * 4, "eta_min": 1e-7}
    steps = keys("type: MultiStepLR, milestones: [250000, 400000, 450000, 475000], gamma: 0.5")
    metric = {"type": "calculate_psnr", "crop_border": scale, "test_y_channel": True}
    return {
        "name": f"{name}_DIV2K_1000k",
        "model_type": "SwinIRModel" if "SwinIR" in name else "SRModel",
        "scale": scale,
        "num_gpu": 0,
        "manual_seed": 0,
        "datasets": {"train": train, "val": {"name": "Set5", **section}},
        "network_g": dict(network),
        "path": keys("pretrain_network_g: ~, strict_load_g: true, resume_state: ~"),
        "train": {
            "ema_decay": 0.999,
            "optim_g": {"type": "Adam", "lr": 2e-4, "weight_decay": 0, "betas": [0.9, 0.99]},
            "scheduler": steps if "SwinIR" in name or "ECBSR" in name else cosine,
            "total_iter": 1000000,
            "warmup_iter": -1,
            "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
        },
        "val": {"val_freq": 5e3, "save_img": True, "metrics": {"psnr": metric}},
        "logger": {
            **{"print_freq": 100, "save_checkpoint_freq": 5e3, "use_tb_logger": True},
            "wandb": {"project": None, "resume_id": None},
        },
        "dist_params": {"backend": "nccl", "port": 29500},
    }


@pytest.fixture(scope="module")
def small_and_large(tmp_path_factory):
    """For each scale three pairs whose clean images are as many times larger."""
    folders = {}
    for scale in (2, 3, 4):
        folders[scale] = write_pairs(tmp_path_factory.mktemp("scale"), 3, 48 * scale, 52 * scale)
        for path in (folders[scale] / "lq").iterdir():
            image = cv2.imread(str(path))
            cv2.imwrite(str(path), cv2.resize(image, (52, 48), interpolation=cv2.INTER_AREA))
    return folders


@pytest.mark.parametrize("name", ["MSRResNet_x2", "ECBSR_x4"])
def test_option_files_of_basicsrs_pass_the_checks(tmp_path, small_and_large, name):
    """An alias for the same `io_backend` twice included, which each data set takes its type out
    of."""
    options = file_of_basicsr(name, small_and_large[int(name[-1])])
    file = write_options(tmp_path / "run.yml", options)
    assert file.read_text().count("io_backend: *") == 1
    options = read_option_file(file)
    options |= {"is_train": True, "dist": False, "auto_resume": False}
    complete_datasets(options)
    check_options(options)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_option_files_of_basicsrs_train(tmp_path, small_and_large, name):
    """Two iterations of four images, and the validation at the end."""
    options = file_of_basicsr(name, small_and_large[int(name[-1])])
    file = write_options(tmp_path / "run.yml", options)
    loader = ("batch_size_per_gpu=4", "num_worker_per_gpu=0")
    shorter = ["train:total_iter=2", *(f"datasets:train:{option}" for option in loader)]
    result = run_command("train", "-opt", file, "--force_yml", *shorter, cwd=tmp_path, seconds=900)
    assert result.returncode == 0, result.stderr[-3000:]
    home = tmp_path / "experiments" / f"{name}_DIV2K_1000k"
    assert (home / "models" / "net_g_latest.pth").is_file()
    assert "Validation Set5" in next(home.glob("train_*.log")).read_text()


def test_test_file_of_basicsrs_without_a_suffix_saves_its_images(tmp_path, small_and_large):
    """`save_img: true` with `suffix: ~`, as BasicSR's test files have it."""
    options = file_of_basicsr("SRVGGNetCompact_x4", small_and_large[4])
    torch.save({"params": built(options["network_g"]).state_dict()}, tmp_path / "net.pth")
    options["datasets"] = {"test_1": options["datasets"]["val"]}
    options["path"] = {"pretrain_network_g": "net.pth", "strict_load_g": True}
    options["val"] |= {"suffix": None}
    for section in ("train", "logger", "dist_params"):
        del options[section]
    file = write_options(tmp_path / "test.yml", options)
    result = run_command("test", "-opt", file, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    pictures = tmp_path / "results" / options["name"] / "visualization"
    saved = sorted(path.name for path in pictures.rglob("*.png"))
    assert saved == [f"00{number}_{options['name']}.png" for number in range(3)]
