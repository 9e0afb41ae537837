"""A run killed or stopped at any moment ends as if nothing had happened."""

import json
import random
import signal
import time
from copy import deepcopy

import pytest
import torch

from constyle_arch.basicsr_repairs.runs import load_resume_state
from tests.processes import run_command, started
from tests.resuming import (
    SLOWLY,
    TOTAL,
    assert_same,
    finished,
    options_for,
    outcome,
    resumed,
    until,
)
from tests.shared import write_options


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


def test_run_that_diverges_never_ends_well_however_often_it_goes_on(tmp_path, uninterrupted):
    _, options = uninterrupted
    options = deepcopy(options)
    options["train"] |= {"max_skipped_steps": 4}
    options["train"]["optim_g"]["lr"] = 1e17
    options["train"]["scheduler"]["eta_mins"] = [1e17, 1e17]
    for _ in range(2):
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
