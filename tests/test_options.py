"""Reading option files safely, and refusing what cannot be run before anything is touched."""

import inspect
import os
import re
from copy import deepcopy

import pytest
import torch
import yaml

from constyle_arch import cli
from constyle_arch.commands import info
from constyle_arch.errors import DataError, OptionsError
from constyle_arch.inference.restoring import OVERLAP
from constyle_arch.models.acceleration import Acceleration
from constyle_arch.models.momentum_contrast import MomentumContrast
from constyle_arch.options import schema
from constyle_arch.options.combinations import check_folders
from constyle_arch.options.preflight import check_options, fill_gaps
from constyle_arch.options.reading import (
    complete_datasets,
    force_options,
    read_checked_options,
    read_option_file,
)
from constyle_arch.options.structure import check_structure
from tests.bad_options import BROKEN, MESSAGES, entry_of, report_of
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
    with pytest.raises(OptionsError, match=r"cannot be read: Is a directory\.$"):
        read_option_file(str(tmp_path))


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
        monkeypatch.setattr(info, "run", failing(message))
        assert cli.main(["info", "x.pth"]) == 2
        assert capsys.readouterr().err == f"basicsr: error: {said}\n"
