"""Promises of `docs/reliability.md` that no other file of tests is about."""

import json
import pickle
import re
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from constyle_arch import cli
from constyle_arch.checkpoints.reading import read_checkpoint
from constyle_arch.commands import convert
from constyle_arch.data.image_stores import ImageLmdb
from constyle_arch.data.preparation.packing import pack
from constyle_arch.data.preparation.plan import Plan
from constyle_arch.errors import CheckpointError, DataError, OptionsError
from constyle_arch.options.preflight import check_options
from constyle_arch.options.reading import complete_datasets
from constyle_arch.reporting.scores import Mean
from constyle_arch.training.experiments import newest_state
from constyle_arch.training.runner import prepare_basicsr
from constyle_arch.training.validation import measure
from tests.processes import run_command
from tests.shared import REPOSITORY, training_options, write_options, write_pairs


def test_page_has_every_fault_and_every_test_it_names_exists():
    faults = (REPOSITORY / "docs" / "basicsr-faults.md").read_text()
    assert [int(number) for number in re.findall(r"^\| (\d+) ", faults, re.MULTILINE)] == list(
        range(2, 31)
    )
    tests = "".join(path.read_text() for path in (REPOSITORY / "tests").glob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", faults):
        assert f"def {name}(" in tests, name


class Malicious:
    """What a checkpoint of an attacker holds: unpickled, it makes a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("kind", ["torch", "pickle"])
def test_malicious_files_run_nothing(tmp_path, kind):
    marker = tmp_path / "marker"
    states = tmp_path / "training_states"
    states.mkdir()
    content = {
        "iter": 3,
        "epoch": 0,
        "optimizers": [],
        "schedulers": [],
        "params": Malicious(marker),
    }
    if kind == "torch":
        torch.save(content, states / "3.state")
    else:
        (states / "3.state").write_bytes(pickle.dumps(content))
    with pytest.raises(CheckpointError):
        read_checkpoint(states / "3.state")
    with pytest.raises(CheckpointError):
        newest_state(states)
    assert not marker.exists()


@pytest.mark.parametrize("key", ["../../outside", "/tmp/outside", "a/../../b"])
def test_names_that_lead_out_of_a_folder_are_refused(tmp_path, key):
    pack(Plan(gt=str(write_pairs(tmp_path, 1) / "gt")), tmp_path / "out", workers=0)
    (tmp_path / "out" / "gt.lmdb" / "meta_info.txt").write_text(f"{key}.png (40,48,3) 0\n")
    with pytest.raises(DataError, match="lead out of a folder"):
        ImageLmdb(tmp_path / "out" / "gt.lmdb")


def test_seed_of_the_command_line_decides(tmp_path, ten_pairs):
    weights = {}
    for name, flags in (("a", ("manual_seed=7",)), ("b", ("manual_seed=7",)), ("c", ())):
        options = training_options(ten_pairs, total_iter=1) | {"name": name}
        file = write_options(tmp_path / f"{name}.yml", options)
        forced = ("--force_yml", *flags) if flags else ()
        result = run_command("train", "-opt", file, *forced, cwd=tmp_path)
        assert result.returncode == 0, result.stderr[-2000:]
        checkpoint = tmp_path / "experiments" / name / "models" / "net_g_latest.pth"
        weights[name] = torch.load(checkpoint, weights_only=True)["params"]
    assert all(torch.equal(tensor, weights["b"][name]) for name, tensor in weights["a"].items())
    assert not all(torch.equal(tensor, weights["c"][name]) for name, tensor in weights["a"].items())


def test_flags_of_old_launchers_are_understood(tmp_path):
    import argparse

    from constyle_arch.options.flags import add_training_arguments

    parser = argparse.ArgumentParser()
    add_training_arguments(parser)
    for flag in ("--local-rank", "--local_rank"):
        assert (
            parser.parse_args(["-opt", "x.yml", f"{flag}=3", "--launcher", "pytorch"]).local_rank
            == 3
        )


def test_restored_image_that_is_not_finite_scores_nothing(tmp_path):
    from constyle_arch.data.paired_restoration_dataset import PairedRestorationDataset

    folder = write_pairs(tmp_path, 2)
    roots = {f"dataroot_{side}": str(folder / side) for side in ("lq", "gt")}
    loader = torch.utils.data.DataLoader(
        PairedRestorationDataset({"name": "x", "phase": "val", **roots})
    )

    def restore(sample):
        broken = (
            torch.full_like(sample["lq"], float("nan"))
            if sample["name"] == ["001"]
            else sample["lq"]
        )
        return {"input": sample["lq"], "restored": broken, "clean": sample["gt"]}

    metrics = {"psnr": {"type": "calculate_psnr", "crop_border": 0}}
    rows = [
        one.row
        for one in measure(
            restore, loader, metrics, score_input=False, pictures_of=(), progress=False
        )
    ]
    mean = Mean.of(row["psnr"] for row in rows)
    assert (mean.count, mean.not_finite, mean.undefined) == (2, 1, 0)
    assert mean.value == rows[0]["psnr"]


def test_check_says_what_a_run_would_do_and_creates_nothing(
    tmp_path, ten_pairs, two_pairs, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    options = training_options(ten_pairs, two_pairs, total_iter=12)
    write_options(tmp_path / "run.yml", options)
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(["check", "-opt", "run.yml"]) == 0
    text = capsys.readouterr().out
    for line in (
        "train        pairs, 10 images",
        "val          pairs, 2 images",
        "iterations   12, 3 an epoch with 4 images each in one process: 4.0 epochs",
        "MiB for a step of 4 images of 16×16 pixels",
        "ConStyleRestormer, ",
        "GMACs for 256×256 pixels",
    ):
        assert line in text
    assert (
        cli.main(
            ["check", "-opt", "run.yml", "--force_yml", "network_g:dim=7", "train:ema_decay=2"]
        )
        == 2
    )
    errors = capsys.readouterr().err
    assert "train.ema_decay is 2" in errors
    assert sorted(tmp_path.rglob("*")) == before
    models = tmp_path / "experiments" / "tiny" / "models"
    models.mkdir(parents=True)
    (models / "net_g_2.pth").write_text("")
    assert cli.main(["check", "-opt", "run.yml"]) == 2
    described, errors = capsys.readouterr()
    assert "train        pairs, 10 images" in described
    assert "experiments/tiny already exists; --auto_resume resumes it" in errors
    assert list((tmp_path / "experiments").iterdir()) == [tmp_path / "experiments" / "tiny"]


def test_options_of_basicsr_and_other_projects_still_check(tmp_path, ten_pairs):
    """BasicSR's own model, architecture and data set, with keys that are theirs."""
    options = training_options(ten_pairs)
    options["model_type"] = "SRModel"
    options["network_g"] = {"type": "SRVGGNetCompact", "num_feat": 8, "num_conv": 1, "upscale": 1}
    options["datasets"]["train"] |= {
        "type": "PairedImageDataset",
        "filename_tmpl": "{}",
        "use_shuffle": True,
    }
    options["train"] = {
        key: options["train"][key] for key in ("total_iter", "optim_g", "scheduler", "pixel_opt")
    }
    options |= {"is_train": True, "dist": False, "auto_resume": False}
    complete_datasets(options)
    check_options(options)


@pytest.mark.parametrize(
    ("number", "advice"), [(28, "make room on the disk"), (30, "start elsewhere")]
)
def test_errors_of_the_disk_are_one_line(monkeypatch, capsys, number, advice):
    def fails(parsed):
        raise OSError(number, "it cannot be", "place")

    monkeypatch.setattr(convert, "run", fails)
    assert cli.main(["convert", "a", "b"]) == 2
    assert re.fullmatch(
        rf"basicsr: error: place: it cannot be; .*{advice}.*\.\n", capsys.readouterr().err
    )


def test_unknown_flags_are_refused_with_their_commands_usage(capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["export", "denoise", "denoise.onnx", "-o", "--halve"])
    error = capsys.readouterr().err
    assert error.startswith("usage: basicsr export ")
    assert error.endswith("basicsr export: error: unrecognized arguments: -o --halve\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import torch\n1 / 0\n", r"my\.py, line 2: ZeroDivisionError: division by zero$"),
        ("def f(:\n", r"my\.py, line 1: SyntaxError: invalid syntax$"),
        ("import nonesuch", r"my\.py, line 1: ModuleNotFoundError: No module named 'nonesuch'$"),
        ("import sys\n\nsys.exit()", r"my\.py, line 3: SystemExit$"),
    ],
)
def test_error_of_a_plugin_is_one_line(tmp_path, text, message):
    (tmp_path / "my.py").write_text(text)
    with pytest.raises(OptionsError, match=message):
        prepare_basicsr([str(tmp_path / "my.py")])


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 60)
    | st.floats(-2, 60)
    | st.sampled_from([float("nan"), float("inf"), 1e-9])
    | st.text(max_size=6)
    | st.sampled_from(["AdamW", "ConStyleNAFNet", "NAFNet", "L1Loss", "../x", "~", "1e-3", "{}_*"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=4,
)


def paths_of(options, prefix=()):
    """Every place in a tree of options."""
    for key, value in options.items():
        yield (*prefix, key)
        if isinstance(value, dict):
            yield from paths_of(value, (*prefix, key))


@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_checker_never_raises_anything_but_its_report(ten_pairs, two_pairs, data):
    options = training_options(ten_pairs, two_pairs, constyle_iter=2)
    for _ in range(data.draw(st.integers(1, 3))):
        *parents, last = data.draw(st.sampled_from(list(paths_of(options))))
        place = options
        for key in parents:
            place = place[key]
        action = data.draw(st.sampled_from(["replace", "delete", "add"]))
        if action == "delete":
            del place[last]
        elif action == "add":
            place[data.draw(st.text(max_size=8))] = data.draw(VALUES)
        else:
            place[last] = data.draw(VALUES)
    try:
        options |= {"is_train": True, "dist": False, "auto_resume": False}
        complete_datasets(options)
        check_options(options)
    except OptionsError as error:
        assert str(error).startswith("These options cannot be run:\n  - ")
    assert json.dumps(sorted(map(str, options)))
