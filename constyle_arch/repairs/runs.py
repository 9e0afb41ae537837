"""Repairs of how a run starts."""

from pathlib import Path
from typing import Any

import basicsr.test
import basicsr.train
from basicsr.utils import check_resume

from constyle_arch.checkpoints.reading import read_checkpoint
from constyle_arch.errors import RunError
from constyle_arch.options import parse_options

Options = dict[str, Any]


def read_options_safely() -> None:
    """`parse_options` runs code out of YAML and `--force_yml`, and nothing checks the options.

    A start that fails on a typo has then already archived the experiment of that name.
    """
    basicsr.train.parse_options = parse_options
    basicsr.test.parse_options = parse_options


def resume_where_the_experiment_is() -> None:
    """`load_resume_state` needs CUDA and looks below the working directory instead of the experiment's root."""
    basicsr.train.load_resume_state = load_resume_state


def load_resume_state(opt: Options) -> dict[str, Any] | None:
    """The training state to go on from, or None to start anew.

    Raises:
        CheckpointError: the state cannot be read.
        RunError: the file that `path.resume_state` names is no training state.
    """
    if opt["auto_resume"]:
        states = Path(opt["path"]["training_states"]).glob("*.state")
        iterations = [int(state.stem) for state in states if state.stem.isdigit()]
        if not iterations:
            print(f"--auto_resume: no training state in {opt['path']['training_states']}; starting anew.", flush=True)
        else:
            opt["path"]["resume_state"] = str(Path(opt["path"]["training_states"]) / f"{max(iterations)}.state")
    path = opt["path"].get("resume_state")
    if not path:
        return None
    state = dict(read_checkpoint(path))
    missing = {"epoch", "iter", "optimizers", "schedulers"} - set(state)
    if missing:
        raise RunError(f"path.resume_state: {path} is no training state; it lacks {', '.join(sorted(missing))}.")
    check_resume(opt, state["iter"])
    return state
