"""A run that is interrupted and resumed, and what it leaves."""

import json
import time

import torch

from tests.processes import REPOSITORY, run_command
from tests.shared import equal, run_with, training_options, write_options, write_pairs

TOTAL = 12


def outcome(cwd):
    """All that a finished run leaves: weights, EMA, best network, last state, metrics history."""
    home = cwd / "experiments" / "tiny"
    outcome = {
        name: torch.load(home / name, weights_only=True)
        for name in (
            "models/net_g_latest.pth",
            "models/net_g_best.pth",
            f"training_states/{TOTAL}.state",
        )
    }
    outcome["history"] = json.loads((home / "models" / "metrics_history.json").read_text())
    return outcome


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        for key in one[name] if isinstance(one[name], dict) else ():
            assert equal(one[name][key], other[name][key]), (name, key)
        assert equal(one[name], other[name]), name


def options_for(folder, workers=0):
    """Three iterations an epoch, a checkpoint every second, a validation every third, the contrast
    until seven."""
    options = training_options(
        write_pairs(folder / "train", 10),
        write_pairs(folder / "val", 3),
        total_iter=TOTAL,
        constyle_iter=7,
    )
    options["train"]["mixing_augs"] = {"mixup": True}
    options["train"]["scheduler"] |= {"periods": [6, 10]}
    options["datasets"]["train"]["num_worker_per_gpu"] = workers
    options["val"] |= {"val_freq": 3}
    options["val"]["metrics"]["ssim"] = {
        "type": "calculate_ssim",
        "crop_border": 0,
        "test_y_channel": False,
    }
    return options


SLOWLY = ("--plugin", REPOSITORY / "tests" / "slow.py")
"""Flags of a run that lasts long enough to be killed somewhere in it."""


def finished(cwd, options, *flags, processes=1):
    file = write_options(cwd / "run.yml", options)
    result = run_command("train", "-opt", file, *flags, cwd=cwd, processes=processes)
    assert result.returncode == 0, result.stderr[-3000:]
    return result


def until(true, process):
    """Wait for it, but not for ever."""
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline, process.stderr[-2000:]
        time.sleep(0.01)


def resumed(cwd, options, *flags):
    return run_with("train", options, cwd, "--auto_resume", *flags)
