"""Repairs of how a run starts."""

from pathlib import Path
from typing import Any

import basicsr.test
import basicsr.train

from constyle_arch.experiments import networks_of, newest_state, read_state
from constyle_arch.models.resuming import changes, check_changes, options_of_training
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

    The options are set so that the run begins with the state's network, seed and position. Nothing is written.

    Raises:
        CheckpointError: the state or its network cannot be read.
        OptionsError: options have changed that must not.
    """
    folder = Path(opt["path"]["training_states"])
    if opt["auto_resume"]:
        found = newest_state(folder)
        if found is None:
            print(f"--auto_resume: no training state in {folder}; starting anew.", flush=True)
            return None
        path, state = found
        opt["path"]["resume_state"] = str(path)
    elif opt["path"].get("resume_state"):
        path = Path(opt["path"]["resume_state"])
        state = read_state(path)
    else:
        return None

    (network,) = networks_of(path, state["iter"])
    opt["path"] |= {"pretrain_network_g": str(network), "param_key_g": "params", "strict_load_g": True}
    opt["iterations_done"] = state["iter"]
    options_then = state.get("options", {})
    if opt.pop("seed_was_drawn", False) and "manual_seed" in options_then:
        opt["manual_seed"] = options_then["manual_seed"]
    changed = changes(options_then, options_of_training(opt))
    for line in check_changes(changed, opt["train"]["scheduler"]["type"], str(path)):
        print(f"Changed since {path} was written: {line}", flush=True)
    for place in ("models", "training_states"):
        Path(opt["path"][place]).mkdir(parents=True, exist_ok=True)
    return state
