"""Repairs of how a run starts."""

from pathlib import Path
from typing import Any

import basicsr.test
import basicsr.train

from constyle_arch.files import remove_unfinished
from constyle_arch.options.reading import parse_options
from constyle_arch.training.experiments import hold_experiment, network_of, set_aside_after, state_to_resume

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
    """The training state to resume from, or None to start from scratch.

    The experiment is this run's from here on. The options are set so that the run begins with the state's network, seed
    and position. What an experiment holds of later iterations is set aside.

    Raises:
        CheckpointError: the state or its network cannot be read.
        OptionsError: options have changed that must not.
        RunError: another process trains the experiment.
    """
    home = Path(opt["path"]["experiments_root"])
    if opt["rank"] == 0:
        hold_experiment(home)
    found = state_to_resume(opt)
    if found is None:
        if opt["auto_resume"] and opt["rank"] == 0:
            print(
                f"--auto_resume: no training state in {opt['path']['training_states']}; starting from scratch.",
                flush=True,
            )
        return None
    if opt["rank"] == 0:
        if found.changed:
            print(f"Changed since {found.path} was written:", *found.changed, sep="\n  - ", flush=True)
        for place in ("models", "training_states"):
            Path(opt["path"][place]).mkdir(parents=True, exist_ok=True)
            remove_unfinished(Path(opt["path"][place]))  # the experiment is held: nobody else writes
        if not opt["auto_resume"]:
            set_aside_after(home, found.state["iter"])
    opt["path"] |= {
        "resume_state": str(found.path),
        "pretrain_network_g": str(network_of(found.path, found.state["iter"])),
        "param_key_g": "params",
        "strict_load_g": True,
    }
    opt["iterations_done"] = found.state["iter"]
    opt["images_then"] = found.state.get("images")
    return found.state
