"""An experiment that is there is resumed as it was, or left alone."""

import shutil
import time
from copy import deepcopy

import pytest
import torch

from constyle_arch.training.experiments import set_aside_after
from tests.processes import Command, run_command
from tests.resuming import SLOWLY, finished, options_for, resumed, until
from tests.shared import equal, run_with, training_options, write_options, write_pairs


@pytest.fixture(scope="module")
def run_of_six_iterations(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("six")
    options = options_for(cwd)
    options["train"]["total_iter"] = 6
    finished(cwd, options)
    return cwd, options


@pytest.fixture
def six_iterations(tmp_path, run_of_six_iterations):
    """The options of a run of six iterations, which is in the test's own folder."""
    cwd, options = run_of_six_iterations
    shutil.copytree(cwd, tmp_path, dirs_exist_ok=True)
    return deepcopy(options)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("network_g.dim", 12),
        ("datasets.train.batch_size_per_gpu", 2),
        ("manual_seed", 9),
        ("train.optim_g.type", "Adam"),
        ("train.contrast.queue_size", 12),
    ],
)
def test_changes_that_break_a_resume_are_refused(six_iterations, tmp_path, path, value):
    *parents, last = path.split(".")
    place = six_iterations
    for key in parents:
        place = place[key]
    before = place[last]
    place[last] = value
    files = {
        file: file.stat().st_mtime_ns
        for file in (tmp_path / "experiments").rglob("*")
        if file.is_file()
    }
    result = resumed(tmp_path, six_iterations)
    assert result.returncode == 2
    assert f"{path}: {before!r} → {value!r}" in result.stderr
    assert {
        file: file.stat().st_mtime_ns
        for file in (tmp_path / "experiments").rglob("*")
        if file.is_file()
    } == files


def test_other_changes_are_listed_and_applied(six_iterations, tmp_path):
    six_iterations["train"] |= {"total_iter": 8, "grad_clip_norm": 0.5}
    six_iterations["train"]["optim_g"] |= {"lr": 0.01, "weight_decay": 0.3}
    six_iterations["train"]["scheduler"]["eta_mins"] = [0.01, 0.01]
    result = resumed(tmp_path, six_iterations)
    assert result.returncode == 0, result.stderr[-2000:]
    for line in (
        "train.total_iter: 6 → 8",
        "train.grad_clip_norm: None → 0.5",
        "train.optim_g.lr: 0.001 → 0.01",
        "train.optim_g.weight_decay: 0.0001 → 0.3",
        "train.scheduler.eta_mins: [0.001, 1e-05] → [0.01, 0.01]",
    ):
        assert line in result.stdout
    state = torch.load(
        tmp_path / "experiments" / "tiny" / "training_states" / "8.state", weights_only=True
    )
    (group,) = state["optimizers"][0]["param_groups"]
    assert group["lr"] == pytest.approx(0.01)
    assert group["weight_decay"] == 0.3


def test_state_of_another_experiment_brings_its_own_weights(six_iterations, tmp_path):
    state = tmp_path / "experiments" / "tiny" / "training_states" / "6.state"
    options = six_iterations | {
        "name": "other",
        "path": {**six_iterations["path"], "resume_state": str(state)},
    }
    options["train"] = {**options["train"], "total_iter": 6}
    result = run_with("train", options, tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]
    weights = [
        torch.load(
            tmp_path / "experiments" / name / "models" / "net_g_latest.pth", weights_only=True
        )
        for name in ("tiny", "other")
    ]
    assert equal(*weights)


def test_experiment_that_is_there_is_neither_archived_nor_overwritten(six_iterations, tmp_path):
    result = run_command("train", "-opt", "run.yml", cwd=tmp_path)
    assert result.returncode == 2
    assert (
        "the experiment experiments/tiny already exists; --auto_resume resumes it" in result.stderr
    )
    assert experiments_in(tmp_path) == ["tiny"]
    for state in (tmp_path / "experiments" / "tiny" / "training_states").iterdir():
        state.unlink()
    result = run_command("train", "-opt", "run.yml", "--auto_resume", cwd=tmp_path)
    assert result.returncode == 2
    assert "holds networks but no training state" in result.stderr
    result = run_command("train", "-opt", "run.yml", "--archive", cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]
    names = experiments_in(tmp_path)
    assert names[0] == "tiny"
    assert names[1].startswith("tiny_archived_")


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGKILL)", "1 / 0"])
def test_run_that_ends_at_its_first_iteration_is_not_in_the_way_of_the_corrected_command(
    tmp_path, ten_pairs, end
):
    (tmp_path / "ends.py").write_text(
        "import os, signal\n"
        "from constyle_arch.models.restoration_model import RestorationModel\n"
        f"RestorationModel.optimize_parameters = lambda *_: {end}\n"
    )
    write_options(tmp_path / "run.yml", training_options(ten_pairs, total_iter=2))
    failed = run_command("train", "-opt", "run.yml", "--plugin", "ends.py", cwd=tmp_path)
    assert failed.returncode not in (0, 2)
    left = experiments_in(tmp_path)
    assert left == (["tiny"] if "kill" in end else [])
    result = run_command("train", "-opt", "run.yml", cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]
    assert experiments_in(tmp_path) == ["tiny"]  # nothing was archived
    assert len(list((tmp_path / "experiments" / "tiny").glob("train_*.log"))) == 1


def experiments_in(cwd):
    return sorted(
        path.name for path in (cwd / "experiments").iterdir() if not path.name.startswith(".")
    )


@pytest.mark.parametrize("flag", ["--auto_resume", "--archive"])
def test_two_runs_do_not_train_one_experiment(tmp_path, run_of_six_iterations, flag):
    options = deepcopy(run_of_six_iterations[1])
    options["train"]["total_iter"] = 10_000  # it trains for as long as the other one tries
    options["train"]["scheduler"]["periods"] = [5_000, 5_000]
    write_options(tmp_path / "run.yml", options)
    home = tmp_path / "experiments" / "tiny"
    process = Command("train", "-opt", "run.yml", *SLOWLY, cwd=tmp_path)
    until((home / "training_states" / "2.state").is_file, process)
    logs = sorted(home.glob("*.log"))
    result = run_command("train", "-opt", "run.yml", flag, cwd=tmp_path)
    assert process.runs
    assert sorted(home.glob("*.log")) == logs
    process.kill()
    process.wait()
    assert result.returncode == 2
    assert "Another process is training" in result.stderr
    assert experiments_in(tmp_path) == ["tiny"]


def test_state_of_another_experiment_does_not_write_over_this_one(six_iterations, tmp_path):
    (tmp_path / "experiments" / "tiny").rename(tmp_path / "experiments" / "other")
    finished(tmp_path, six_iterations)
    state = tmp_path / "experiments" / "other" / "training_states" / "4.state"
    options = six_iterations | {"path": {**six_iterations["path"], "resume_state": str(state)}}
    result = run_with("train", options, tmp_path)
    assert result.returncode == 2
    assert "the experiment experiments/tiny already exists" in result.stderr


def test_going_back_to_an_older_state_sets_aside_what_came_after(six_iterations, tmp_path):
    home = tmp_path / "experiments" / "tiny"
    expected = outcome_at(home, 6)
    options = six_iterations | {
        "path": {
            **six_iterations["path"],
            "resume_state": str(home / "training_states" / "2.state"),
        }
    }
    result = run_with("train", options, tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "Going back to iteration 2: what came after it is in" in result.stdout
    (aside,) = home.glob("abandoned_*")
    assert {path.name for path in aside.iterdir()} == {
        *(f"{i}.state" for i in (4, 6)),
        *(f"net_g_{i}.pth" for i in (4, 6, "latest", "best")),
    }
    assert equal(outcome_at(home, 6), expected)


def outcome_at(home, iteration):
    names = (
        "models/net_g_best.pth",
        f"models/net_g_{iteration}.pth",
        f"training_states/{iteration}.state",
    )
    return [torch.load(home / name, weights_only=True) for name in names]


def test_other_images_than_before_are_refused(six_iterations, tmp_path):
    data = write_pairs(tmp_path / "more", 12)
    for side in ("gt", "lq"):
        six_iterations["datasets"]["train"][f"dataroot_{side}"] = str(data / side)
    result = resumed(tmp_path, six_iterations)
    assert result.returncode == 2
    assert "datasets.train has 12 images, and had 10 when the state was written" in result.stderr


def test_what_is_set_aside_within_a_second_is_all_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "strftime", lambda form: "abandoned_20260101_000000")
    state = tmp_path / "training_states" / "4.state"
    state.parent.mkdir()
    for content in ("first", "second"):
        state.write_text(content)
        set_aside_after(tmp_path, 2)
    kept = [file.read_text() for file in sorted(tmp_path.glob("abandoned_*/4.state"))]
    assert kept == ["first", "second"]
