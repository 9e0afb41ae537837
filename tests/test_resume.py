"""A run killed or stopped at any moment ends as if nothing had happened."""

import json
import random
import shutil
import signal
import time
from copy import deepcopy

import pytest
import torch

from constyle_arch.basicsr_repairs.runs import load_resume_state
from tests.processes import Command, run_command, started
from tests.shared import (
    REPOSITORY,
    TOTAL,
    assert_same,
    equal,
    options_for,
    outcome,
    training_options,
    write_options,
    write_pairs,
)

SLOWLY = ("--plugin", REPOSITORY / "tests" / "slow.py")


def finished(cwd, options, *flags, processes=1):
    file = write_options(cwd / "run.yml", options)
    result = run_command("train", "-opt", file, *flags, cwd=cwd, processes=processes)
    assert result.returncode == 0, result.stderr[-3000:]
    return result


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A run that nothing disturbs."""
    cwd = tmp_path_factory.mktemp("uninterrupted")
    options = options_for(cwd)
    finished(cwd, options)
    return cwd, options


def killed_again_and_again(cwd, options, kills, seed, processes=1):
    """Kill the run at random moments, resume each time, and let it finish at last; returns how
    often it was killed."""
    rng = random.Random(seed)
    write_options(cwd / "run.yml", options)
    done = sum(resumed_and_killed(cwd, rng.uniform(0, 0.6), processes) for _ in range(kills))
    finished(cwd, options, "--auto_resume", processes=processes)
    return done


def resumed_and_killed(cwd, seconds, processes):
    """Resume the run and kill it so long after it has written a state; whether it was still
    running."""
    states = cwd / "experiments" / "tiny" / "training_states"
    before = set(states.glob("*.state"))
    ranks = started(
        "train", "-opt", "run.yml", "--auto_resume", *SLOWLY, cwd=cwd, processes=processes
    )
    until(lambda: not ranks[0].runs or set(states.glob("*.state")) != before, ranks[0])
    time.sleep(seconds)
    was_running = ranks[0].runs
    for rank in ranks:
        rank.kill()
        rank.wait()
    return was_running


def until(true, process):
    """Wait for it, but not for ever."""
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline, process.stderr[-2000:]
        time.sleep(0.01)


def test_killed_run_ends_as_if_nothing_had_happened(tmp_path, uninterrupted):
    cwd, options = uninterrupted
    assert killed_again_and_again(tmp_path, options, kills=3, seed=1) == 3
    assert_same(outcome(tmp_path), outcome(cwd))


def test_what_a_killed_run_left_half_written_is_removed_when_it_goes_on(make_model, tmp_path):
    model = make_model()
    model.save(epoch=0, current_iter=2)
    home = tmp_path / "experiments" / "tiny"
    for place in ("models", "training_states"):
        (home / place).mkdir(parents=True)
        (home / place / ".0123.unfinished").write_bytes(b"half")
    (tmp_path / "2.state").rename(home / "training_states" / "2.state")
    (tmp_path / "net_g_2.pth").rename(home / "models" / "net_g_2.pth")
    path = {place: str(home / place) for place in ("models", "training_states")} | {
        "experiments_root": str(home)
    }
    opt = {**model.opt, "path": path, "rank": 0, "auto_resume": True}
    opt["train"]["optim_g"]["type"] = "AdamW"  # which BasicSR takes out as it builds the optimizer
    assert load_resume_state(opt)["iter"] == 2
    assert not list(home.rglob("*.unfinished"))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 4])
def test_run_killed_many_times_ends_as_if_nothing_had_happened(tmp_path, uninterrupted, workers):
    cwd, options = uninterrupted
    options = options | {"datasets": {**options["datasets"]}}
    options["datasets"]["train"] = {**options["datasets"]["train"], "num_worker_per_gpu": workers}
    kills = 0
    for seed in range(4):
        home = tmp_path / str(seed)
        home.mkdir()
        kills += killed_again_and_again(home, options, kills=3, seed=seed)
        assert_same(outcome(home), outcome(cwd))
    assert kills >= 10


@pytest.mark.slow
def test_two_processes_killed_end_as_if_nothing_had_happened(tmp_path, uninterrupted):
    _, options = uninterrupted
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    finished(tmp_path / "whole", options, processes=2)
    assert killed_again_and_again(tmp_path / "killed", options, kills=3, seed=5, processes=2) == 3
    assert_same(outcome(tmp_path / "killed"), outcome(tmp_path / "whole"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_that_is_stopped_saves_says_how_to_go_on_and_ends_the_same(
    tmp_path, uninterrupted, number
):
    cwd, options = uninterrupted
    options = options | {"logger": {**options["logger"], "save_checkpoint_freq": TOTAL}}
    write_options(tmp_path / "run.yml", options)
    (tmp_path / "stop.py").write_text(
        "import os\n"
        "from constyle_arch.models.restoration_model import RestorationModel\n"
        "accumulate = RestorationModel.accumulate_gradients\n"
        "def stop(self):\n"
        "    if self.current_iter == 5:\n"
        f"        os.kill(os.getpid(), {int(number)})\n"
        "    return accumulate(self)\n"
        "RestorationModel.accumulate_gradients = stop\n"
    )
    result = run_command("train", "-opt", "run.yml", "--plugin", "stop.py", cwd=tmp_path)
    assert result.returncode == 128 + number
    assert "stopped after iteration 5, which is saved; --auto_resume resumes" in result.stderr
    assert "Traceback" not in result.stderr
    states = tmp_path / "experiments" / "tiny" / "training_states"
    assert {path.name for path in states.iterdir()} == {"5.state"}
    finished(tmp_path, options, "--auto_resume")
    assert_same(outcome(tmp_path), outcome(cwd))


def test_damaged_newest_state_is_passed_over(tmp_path, uninterrupted):
    cwd, options = uninterrupted
    finished(tmp_path, options | {"train": {**options["train"], "total_iter": 6}})
    home = tmp_path / "experiments" / "tiny"
    state = home / "training_states" / "6.state"
    state.write_bytes(state.read_bytes()[:-1000])
    network = home / "models" / "net_g_4.pth"
    content = bytearray(network.read_bytes())
    content[len(content) // 2] ^= 0xFF  # one byte of a number
    network.write_bytes(content)
    result = finished(tmp_path, options, "--auto_resume")
    assert "The state of iteration 6 cannot be used" in result.stdout
    assert "The state of iteration 4 cannot be used" in result.stdout
    assert "iter: 2." in next(
        path.read_text() for path in home.glob("train_*.log") if "Resuming" in path.read_text()
    )
    assert_same(outcome(tmp_path), outcome(cwd))


@pytest.fixture(scope="module")
def run_of_six_iterations(tmp_path_factory, uninterrupted):
    _, options = uninterrupted
    cwd = tmp_path_factory.mktemp("six")
    options = options | {"train": {**options["train"], "total_iter": 6}}
    finished(cwd, options)
    return cwd, options


@pytest.fixture
def six_iterations(tmp_path, run_of_six_iterations):
    """The options of a run of six iterations, which is in the test's own folder."""
    cwd, options = run_of_six_iterations
    shutil.copytree(cwd, tmp_path, dirs_exist_ok=True)
    return deepcopy(options)


def resumed(cwd, options, *flags):
    return run_command(
        "train", "-opt", write_options(cwd / "run.yml", options), "--auto_resume", *flags, cwd=cwd
    )


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
    result = run_command(
        "train", "-opt", write_options(tmp_path / "other.yml", options), cwd=tmp_path
    )
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
def test_two_runs_do_not_train_one_experiment(tmp_path, uninterrupted, flag):
    _, options = uninterrupted
    options = deepcopy(options)
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
    result = run_command(
        "train", "-opt", write_options(tmp_path / "run.yml", options), cwd=tmp_path
    )
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
    result = run_command(
        "train", "-opt", write_options(tmp_path / "run.yml", options), cwd=tmp_path
    )
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


def test_run_that_diverges_never_ends_well_however_often_it_goes_on(tmp_path, uninterrupted):
    _, options = uninterrupted
    options = deepcopy(options)
    options["train"] |= {"max_skipped_steps": 4}
    options["train"]["optim_g"]["lr"] = 1e17
    options["train"]["scheduler"]["eta_mins"] = [1e17, 1e17]
    for _ in range(3):
        result = resumed(tmp_path, options)
        assert result.returncode == 2, result.stdout[-1000:]
        assert "not finite in 4 steps in a row" in result.stderr


def test_run_stopped_while_it_validates_makes_up_for_it(tmp_path, uninterrupted):
    cwd, options = uninterrupted
    write_options(tmp_path / "run.yml", options)
    plugin = tmp_path / "stop_in_validation.py"
    plugin.write_text(
        "import os, signal\n"
        "from constyle_arch.models.restoration_model import RestorationModel\n"
        "test = RestorationModel.test\n"
        "def stop(self):\n"
        "    test(self)\n"
        "    if self.current_iter == 6:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "RestorationModel.test = stop\n"
    )
    result = run_command("train", "-opt", "run.yml", "--plugin", plugin, cwd=tmp_path)
    assert result.returncode == 128 + signal.SIGTERM
    assert "stopped after iteration 6, which is saved" in result.stderr
    history = json.loads(
        (tmp_path / "experiments" / "tiny" / "models" / "metrics_history.json").read_text()
    )
    assert [record["iter"] for record in history] == [3]
    finished(tmp_path, options, "--auto_resume")
    assert_same(outcome(tmp_path), outcome(cwd))


def test_number_of_workers_and_runs_do_not_change_a_run(tmp_path, uninterrupted):
    cwd, options = uninterrupted
    options = deepcopy(options)
    options["datasets"]["train"]["num_worker_per_gpu"] = 4
    finished(tmp_path, options)
    assert_same(outcome(tmp_path), outcome(cwd))


def test_seed_that_was_drawn_is_kept(tmp_path, uninterrupted):
    _, options = uninterrupted
    options = deepcopy(options)
    del options["manual_seed"]
    options["train"]["total_iter"] = 2
    finished(tmp_path, options)
    options["train"]["total_iter"] = 4
    finished(tmp_path, options, "--auto_resume")
    states = [
        torch.load(
            tmp_path / "experiments" / "tiny" / "training_states" / f"{i}.state", weights_only=True
        )
        for i in (2, 4)
    ]
    assert states[0]["options"]["manual_seed"] == states[1]["options"]["manual_seed"]
