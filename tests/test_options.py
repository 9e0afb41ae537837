"""Reading option files safely, and refusing what cannot be run before anything is touched."""

import inspect
import json
import os
import re
from copy import deepcopy
from dataclasses import replace

import jsonschema
import pytest
import torch
import yaml

from constyle_arch import cli
from constyle_arch.data.training_crop import TrainingCrop
from constyle_arch.errors import DataError, OptionsError
from constyle_arch.inference.restoring import OVERLAP
from constyle_arch.models.acceleration import Acceleration
from constyle_arch.models.momentum_contrast import MomentumContrast
from constyle_arch.models.optimization import find_scheduler
from constyle_arch.options import data_sets, schema
from constyle_arch.options.cautions import GIGABYTE, cautions
from constyle_arch.options.combinations import check_folders
from constyle_arch.options.preflight import check_options, fill_gaps
from constyle_arch.options.reading import (
    complete_datasets,
    force_options,
    read_checked_options,
    read_option_file,
)
from constyle_arch.options.scaling import scale_iterations
from constyle_arch.options.structure import check_structure
from constyle_arch.training.step_costs import Disk, Step, disk_of
from tests.bad_options import BROKEN, MESSAGES, broken, entry_of, report_of
from tests.processes import run_command
from tests.shared import REPOSITORY, training_options, write_options, write_pairs

BOMB = "a0: &a0 [1, 1]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)
"""Each value is nine times the one before."""


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
        ("a: 1\na: 2", "the key 'a' appears twice"),
        ("a: [1", "cannot be read"),
        ("- a", "must be a mapping"),
        ("a: &a {b: *a}", "an alias .* refers to a value that contains it, line 1"),
        ("a: &a [*a]", "an alias .* refers to a value that contains it, line 1"),
        (BOMB, "with its aliases .* written out it is more than 100000 values, line 6"),
        ("[" * 5000, "nested too deeply"),
        ("", "must be a mapping"),
    ],
)
def test_unreadable_files_are_explained(tmp_path, text, message):
    with pytest.raises(OptionsError, match=message) as error:
        read(tmp_path, text)
    assert "\n" not in str(error.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(OptionsError, match=r"nowhere\.yml does not exist"):
        read_option_file(str(tmp_path / "nowhere.yml"))


def test_forced_options_replace_those_of_the_file(capsys):
    options = {"train": {"lr": 1.0, "betas": [0.9]}, "name": "x", "flag": True}
    force_options(
        options,
        ["train:lr=1e-4", "train:betas=[0.9, 0.99]", "name=none", "flag=false", "train:new=a{}"],
    )
    assert options == {
        "train": {"lr": 1e-4, "betas": [0.9, 0.99], "new": "a{}"},
        "name": None,
        "flag": False,
    }
    assert "adds train:new" in capsys.readouterr().out


def test_merge_keys_are_read(tmp_path):
    text = "base: &base {a: 1, b: 2}\nmore: {<<: *base, b: 3}"
    assert read(tmp_path, text) == {"base": {"a": 1, "b": 2}, "more": {"a": 1, "b": 3}}


@pytest.mark.parametrize("word", ["auto", "Auto"])
def test_gpus_are_counted_whichever_way_auto_is_written(tmp_path, ten_pairs, monkeypatch, word):
    monkeypatch.chdir(tmp_path)
    write_options(tmp_path / "run.yml", {**training_options(ten_pairs), "num_gpu": word})
    options, _ = read_checked_options(["-opt", "run.yml"])
    assert options["num_gpu"] == min(torch.cuda.device_count(), 1)


def test_niqe_passes_on_images_it_can_score(tmp_path):
    data = write_pairs(tmp_path / "data", 4, 200, 210)
    options = training_options(data, data)
    options["val"]["metrics"] = {
        "niqe": {"type": "calculate_niqe", "crop_border": 0, "better": "lower"}
    }
    options |= {"is_train": True, "dist": False, "auto_resume": False}
    complete_datasets(options)
    check_options(options)


@pytest.mark.parametrize("is_train", [True, False])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda folder: folder.symlink_to("gone"),
            "is a link to gone, which is not there; create that folder",
        ),
        (lambda folder: folder.write_text(""), "is there and is no folder; rename it"),
        (
            lambda folder: folder.mkdir(),
            "cannot be written to; change its permissions, or start elsewhere",
        ),
        (
            lambda folder: None,
            "cannot be created in .*, which cannot be written to; start elsewhere",
        ),
    ],
)
def test_folders_that_cannot_be_written_are_named(
    tmp_path, ten_pairs, monkeypatch, make, message, is_train
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "access", lambda *_: False)
    make(tmp_path / ("experiments" if is_train else "results"))
    options = {**training_options(ten_pairs), "is_train": is_train}
    (problem,) = check_folders(options)
    assert re.search(message, problem)


@pytest.mark.parametrize("entry", ["train", "trian:lr=1", "name:x=1", "a=[1"])
def test_wrong_forced_options_are_refused(entry):
    with pytest.raises(OptionsError, match="--force_yml"):
        force_options({"train": {"lr": 1.0}, "name": "x"}, [entry])


def test_forced_options_run_no_code(tmp_path):
    marker = tmp_path / "marker"
    injection = f'name"]=1;__import__("pathlib").Path("{marker}").touch()#'
    options = {"name": "x"}
    force_options(
        options, [f"{injection}=1", f"name=[__import__('pathlib').Path('{marker}').touch()]"]
    )
    assert not marker.exists()


def test_defaults_described_are_those_of_the_code():
    def described(section, names):
        return {name: section.model_fields[name].default for name in names}

    assert described(schema.Train, vars(Acceleration())) == vars(Acceleration())
    contrast = inspect.signature(MomentumContrast).parameters
    names = [name for name in contrast if name != "encoder"]
    assert described(schema.Contrast, names) == {name: contrast[name].default for name in names}
    assert described(schema.Validation, ["tile_overlap"]) == {"tile_overlap": OVERLAP}
    crop = TrainingCrop(1)
    assert described(data_sets.Crops, ["use_hflip", "use_rot"]) == {
        "use_hflip": crop.flips,
        "use_rot": crop.rotations,
    }


@pytest.fixture(scope="module")
def editor():
    """What an editor says of options, by their places."""
    validator = jsonschema.Draft7Validator(
        json.loads((REPOSITORY / "options" / "schema.json").read_text())
    )

    def marked(errors):
        for error in errors:
            or_empty = error.validator == "anyOf" and error.context[-1].validator == "type"
            yield from marked(error.context[:-1]) if or_empty else [error]

    def said(options):
        errors = marked(validator.iter_errors(options))
        return {".".join(map(str, error.absolute_path)): error.message for error in errors}

    return said


def test_editors_find_nothing_wrong_with_the_recipes(editor):
    for path in (REPOSITORY / "options").rglob("*.yml"):
        assert editor(read_option_file(path)) == {}, path
        place = path.read_text().splitlines()[0].removeprefix("# yaml-language-server: $schema=")
        assert (path.parent / place).resolve() == REPOSITORY / "options" / "schema.json"


@pytest.mark.parametrize(
    ("path", "value", "place", "message"),
    [
        ("trian", {}, "", "'trian' was unexpected"),
        ("train.ema_deacy", 0.9, "train", "'ema_deacy'"),
        ("train.total_iter", "many", "train.total_iter", "not of type 'integer'"),
        (
            "train.contrast.momentum",
            3,
            "train.contrast.momentum",
            "3 is greater than the maximum of 1",
        ),
        ("train.my_opt", {"weight": 1}, "train.my_opt", "'type' is a required property"),
        ("datasets.train.use_hfilp", True, "datasets.train", "'use_hfilp' was unexpected"),
        ("datasets.train.gt_size", ..., "datasets.train", "'gt_size' is a required property"),
        ("logger", ..., "", "'logger' is a required property"),
        ("datasets.vall", {}, "datasets", "'vall' does not match"),
    ],
)
def test_editors_mark_what_is_wrong(editor, ten_pairs, path, value, place, message):
    options = training_options(ten_pairs, ten_pairs)
    assert editor(options) == {}
    assert message in editor(broken(options, path, value))[place]


def test_options_of_other_models_pass_editors_as_they_are(editor, ten_pairs):
    options = training_options(ten_pairs)
    options |= {"model_type": "SRModel", "mine": {}}
    assert editor(options) == {}
    options = training_options(ten_pairs)
    options["datasets"]["train"] |= {
        "type": "PairedImageDataset",
        "filename_tmpl": "{}",
        "use_shuffle": True,
    }
    assert editor(options) == {}


def test_empty_keys_stay_where_another_model_reads_them(ten_pairs):
    options = training_options(ten_pairs, ten_pairs)
    options["val"] |= {"suffix": None, "pbar": None}
    options["train"]["mixing_augs"] = {"mixup": None}
    options["datasets"]["train"] |= {
        "type": "PairedImageDataset",
        "mean": None,
        "dataset_enlarge_ratio": None,
    }
    mine, basicsrs = deepcopy(options), deepcopy(options) | {"model_type": "SRModel"}
    fill_gaps(mine)
    fill_gaps(basicsrs)
    assert basicsrs["val"] == options["val"] and basicsrs["train"] == options["train"]
    assert mine["val"].keys().isdisjoint({"suffix", "pbar"}) and mine["train"]["mixing_augs"] == {}
    for filled in (mine, basicsrs):  # the loader is this package's
        assert filled["datasets"]["train"]["mean"] is None
        assert "dataset_enlarge_ratio" not in filled["datasets"]["train"]


def test_sets_of_a_mixture_are_checked_like_data_sets(ten_pairs):
    options = training_options(ten_pairs)
    pairs = options["datasets"]["train"]
    own = {key: pairs[key] for key in ("type", "dataroot_gt", "dataroot_lq")}
    crops = {key: value for key, value in pairs.items() if key not in own and key != "io_backend"}
    mixture = {**crops, "type": "MixedDataset", "sets": [own, {**own, "lq_nam": "{}"}]}
    options["datasets"]["train"] = mixture
    options |= {"is_train": True, "dist": False, "auto_resume": False}
    complete_datasets(options)
    assert list(check_structure(options)) == [
        "datasets.train.sets.2.lq_nam is not an option that is read; did you mean lq_name?"
    ]


def checked(train, val=None, **train_options):
    """Options as they are once they have been checked."""
    options = training_options(train, val, **train_options)
    options["train"]["scheduler"]["periods"] = [2, 2]
    return options | {"is_train": True}


def test_options_that_are_meant_raise_no_doubts(ten_pairs, two_pairs):
    assert list(cautions(checked(ten_pairs, two_pairs, constyle_iter=4), None, 0)) == []


@pytest.mark.parametrize(
    ("path", "value", "doubt"),
    [
        (
            "train.constyle_iter",
            5,
            "is 5 and the run has 4 iterations, so ConStyle is never frozen",
        ),
        ("train.scheduler.periods", [4, 4], "the first period, 4 iterations, outlasts the run's 4"),
        (
            "datasets.train.num_worker_per_gpu",
            10_000,
            "num_worker_per_gpu is 10000, and this process has",
        ),
        (
            "datasets.val.dataroot_lq",
            "{two}/gt",
            "datasets.val: dataroot_lq and dataroot_gt are one place",
        ),
        (
            "datasets.val.dataroot_gt",
            "{ten}/lq/../gt/",
            "datasets.val measures on images that are trained on",
        ),
    ],
)
def test_options_hardly_meant_raise_doubts(ten_pairs, two_pairs, path, value, doubt):
    if isinstance(value, str):
        value = value.format(two=two_pairs, ten=ten_pairs)
    (found,) = cautions(broken(checked(ten_pairs, two_pairs), path, value), None, 0)
    assert doubt in found


def test_step_that_memory_does_not_hold_is_computed_in_as_few_parts_as_fit(ten_pairs):
    options = checked(ten_pairs)
    options["datasets"]["train"]["batch_size_per_gpu"] = 16
    step = Step(fixed=2 * GIGABYTE, computed=60 * GIGABYTE, parts=1, seconds=None)
    (found,) = cautions(options, step, 20 * GIGABYTE)
    assert "about 62.0 GiB and 20.0 GiB are free; set train.accumulate: 4 at the same rate" in found
    assert replace(step, parts=4).memory <= 20 * GIGABYTE < replace(step, parts=2).memory
    (found,) = cautions(options, step, 5 * GIGABYTE)  # eight parts of two images take more
    assert (
        "accumulate" not in found
        and "batch_size" not in found
        and "train.checkpointing: true" in found
    )
    assert list(cautions(options, step, 62 * GIGABYTE)) == []


@pytest.mark.parametrize(("optimizer", "rate"), [("AdamW", "0.0005"), ("SGD", "0.00025")])
def test_batch_that_memory_does_not_hold_may_be_smaller_with_another_rate_and_more_iterations(
    ten_pairs, optimizer, rate
):
    """A quarter of the batch: half the rate for an adaptive optimizer, a quarter for SGD."""
    options = checked(ten_pairs)
    options["datasets"]["train"]["batch_size_per_gpu"] = 16
    options["train"]["optim_g"] |= {"type": optimizer, "lr": 0.001}
    step = Step(fixed=2 * GIGABYTE, computed=60 * GIGABYTE, parts=1, seconds=None)
    (found,) = cautions(options, step, 18 * GIGABYTE)
    assert (
        f"batch_size_per_gpu: 4 with train.optim_g.lr: {rate} and --total-iter 16, as many images"
        in found
    )
    assert "torchrun" not in found
    options |= {"num_gpu": 1, "dist": False}
    (found,) = cautions(options, step, 18 * GIGABYTE, gpus=4)
    assert (
        "set batch_size_per_gpu: 4 for 4 processes (torchrun --nproc-per-node 4), or "
        "train.accumulate: 4" in found
    )


def test_disk_that_will_be_full_is_doubted(ten_pairs):
    disk = Disk(network=2 * GIGABYTE, state=3 * GIGABYTE, count=10, free=50 * GIGABYTE)
    (found,) = cautions(checked(ten_pairs), None, 0, disk)
    assert (
        "10 checkpoints take about 54.0 GiB and 50.0 GiB are free here; raise "
        "logger.save_checkpoint_freq" in found
    )
    assert list(cautions(checked(ten_pairs), None, 0, replace(disk, free=54 * GIGABYTE))) == []


def test_disk_that_is_needed_is_what_a_run_writes(tmp_path, make_model, ten_pairs):
    model = make_model()
    model.feed_data({"lq": torch.rand(4, 3, 16, 16), "gt": torch.rand(4, 3, 16, 16)})
    model.optimize_parameters(1)
    model.save_networks("4")
    model.save_training_state(0, 4)
    disk = disk_of(checked(ten_pairs))
    assert disk.count == 2  # of four iterations, saved every second
    for size, file in ((disk.network, "net_g_4.pth"), (disk.state, "4.state")):
        assert (tmp_path / file).stat().st_size == pytest.approx(size, rel=0.15), file


def test_weeks_on_a_cpu_are_doubted(ten_pairs):
    options = checked(ten_pairs, total_iter=700_000)
    options["train"]["scheduler"]["periods"] = [200_000, 500_000]
    step = Step(fixed=0, computed=0, parts=1, seconds=5.0)
    (found,) = cautions(options, step, 1)
    assert "700000 iterations take about 41 days on this CPU" in found
    assert list(cautions(options, replace(step, seconds=0.1), 1)) == []


@pytest.mark.parametrize("total_iter", [20_000, 999, 2_000_000])
def test_run_of_another_length_follows_the_same_curve(total_iter):
    recipe = read_option_file(REPOSITORY / "options" / "dehaze_constyle_restormer.yml")["train"]
    scaled = deepcopy(recipe)
    changed = scale_iterations({"train": scaled}, total_iter)
    assert len(changed) == 3
    assert scaled["total_iter"] == sum(scaled["scheduler"]["periods"]) == total_iter
    before, after = recipe["total_iter"], scaled["total_iter"]
    assert scaled["constyle_iter"] / after == pytest.approx(
        recipe["constyle_iter"] / before, abs=1 / after
    )

    def rate(train_opt, share):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3e-4)
        schedule = dict(train_opt["scheduler"])
        scheduler = find_scheduler(schedule.pop("type"))(optimizer, **schedule)
        scheduler.last_epoch = round(train_opt["total_iter"] * share)
        return scheduler.get_lr()[0]

    for share in (0.1, 0.34, 0.36, 0.5, 0.9, 1):
        assert rate(scaled, share) == pytest.approx(rate(recipe, share), abs=2e-6)


def test_every_count_of_a_schedule_is_scaled():
    train_opt = {
        "total_iter": 1000,
        "warmup_iter": 100,
        "scheduler": {"milestones": [500, 900], "T_max": 1000},
    }
    scale_iterations({"train": train_opt}, 100)
    assert train_opt == {
        "total_iter": 100,
        "warmup_iter": 10,
        "scheduler": {"milestones": [50, 90], "T_max": 100},
    }


@pytest.mark.parametrize(
    "options", [{}, {"train": [1]}, {"train": {"total_iter": "many", "scheduler": None}}]
)
def test_what_has_no_length_is_left_to_the_check(options):
    before = deepcopy(options)
    assert scale_iterations(options, 10) == []
    assert options == before


def test_run_takes_its_length_from_the_command_line(tmp_path, ten_pairs, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_options(
        tmp_path / "run.yml", training_options(ten_pairs, total_iter=100, constyle_iter=50)
    )
    options, _ = read_checked_options(["-opt", "run.yml", "--total-iter", "20"])
    assert options["train"]["total_iter"] == 20 and options["train"]["constyle_iter"] == 10
    assert (
        "--total-iter 20: train.scheduler.periods: [50, 50] → [10, 10]\n" in capsys.readouterr().out
    )
    for number in ("0", "many"):
        with pytest.raises(SystemExit):
            read_checked_options(["-opt", "run.yml", "--total-iter", number])


def check(tmp_path, options):
    """Run the command, expecting a refusal that leaves the directory as it was; returns what it
    printed."""
    file = write_options(tmp_path / "run.yml", options)
    before = sorted(tmp_path.rglob("*"))
    result = run_command("train", "-opt", file, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(tmp_path.rglob("*")) == before
    return result.stderr


@pytest.mark.parametrize(
    ("path", "value", "message"), BROKEN, ids=[f"{path}={value}" for path, value, _ in BROKEN]
)
def test_options_that_cannot_run_are_reported_word_for_word(ten_pairs, path, value, message):
    reported = report_of(ten_pairs, path, value)
    assert message in reported
    assert entry_of(path, value, reported) in MESSAGES.read_text(encoding="utf-8")


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
        assert (
            f'`basicsr prepare {name.lower()}` writes it; see datasets/README.md, section "{name}"'
            in report
        )
        assert f"\n## {name}\n" in (REPOSITORY / "datasets" / "README.md").read_text()


def test_damaged_training_image_is_reported_before_the_run(tmp_path):
    data = write_pairs(tmp_path / "data", 3)
    (data / "lq" / "002.png").write_bytes(b"broken")
    report = check(tmp_path, training_options(data))
    assert "002.png cannot be decoded" in report


def test_messages_are_printed_whole(capsys, monkeypatch):
    """Also one that quotes its own class; of a loader's worker, the message without the
    traceback."""

    def failing(message):
        def run(_):
            raise DataError(message)

        return run

    said = "x.yml: a DataError: is quoted"
    worker = (
        "Caught DataError in DataLoader worker process 0.\nOriginal Traceback (most recent call "
        "last):\n"
        '  File "x.py", line 1, in f\n    raise DataError(message)\n'
        f"constyle_arch.errors.DataError: {said}\n"
    )
    for message in (said, worker):
        monkeypatch.setattr(cli.info, "run", failing(message))
        assert cli.main(["info", "x.pth"]) == 2
        assert capsys.readouterr().err == f"basicsr: error: {said}\n"
