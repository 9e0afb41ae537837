"""Repairs of how a run starts."""

import importlib
import logging
import re
from pathlib import Path
from typing import Any

import basicsr.test
import basicsr.train
from basicsr.utils import MessageLogger, get_root_logger, get_time_str, misc
from basicsr.utils.dist_util import master_only

from constyle_arch.files import free_path, remove_unfinished
from constyle_arch.options.reading import parse_options
from constyle_arch.training.experiments import (
    hold_experiment,
    is_failed_start,
    network_beside,
    remove_failed_start,
    set_aside_after,
    state_to_resume,
)
from constyle_arch.training.resuming import start_of

Options = dict[str, Any]

BUILT = re.compile(
    r"(Dataset|Network|Loss|Criterion|Model) \[\w+\].* is (built|created)\.$|\w+\(\n"
)


def read_options_safely() -> None:
    """`parse_options` runs code out of YAML and `--force_yml`, and nothing checks the options.

    A start that fails on a typo has then already archived the experiment of that name.
    """
    basicsr.train.parse_options = parse_options
    basicsr.test.parse_options = parse_options


def resume_where_the_experiment_is() -> None:
    """`load_resume_state` needs CUDA and looks below the working directory, not the run's root."""
    basicsr.train.load_resume_state = load_resume_state


def archive_under_a_free_name() -> None:
    """`mkdir_and_rename` fails where a folder was archived within the same second."""
    misc.mkdir_and_rename = basicsr.train.mkdir_and_rename = create_folder


def log_at_length_to_the_file_alone() -> None:
    """A start prints ninety lines: versions, every option, every part that is built."""
    basicsr.train.get_root_logger = get_root_logger_of_run
    basicsr.test.get_root_logger = get_root_logger_of_run


def count_the_time_left_to_zero() -> None:
    """`MessageLogger` counts an iteration too few: the last one's time left is `-1 day`."""
    basicsr.train.MessageLogger = MessageLoggerOfRun


def show_runs_in_current_wandb() -> None:
    """`init_wandb_logger` makes its run's id by a function that wandb has no more."""
    basicsr.train.init_wandb_logger = init_wandb_logger


class MessageLoggerOfRun(MessageLogger):  # type: ignore[misc]  # BasicSR publishes no types
    """BasicSR's log of a training, with the right time left."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.max_iters += 1  # read for the time left alone, which omits one iteration


@master_only  # type: ignore[untyped-decorator]  # BasicSR publishes no types
def init_wandb_logger(opt: Options) -> None:
    """Have wandb show tensorboard's curves in the project and run that `logger.wandb` names."""
    wandb = importlib.import_module("wandb")
    settings = opt["logger"]["wandb"]
    run = settings.get("resume_id")
    wandb.init(
        project=settings["project"],
        name=opt["name"],
        id=run,
        resume="allow" if run else None,
        config=opt,
        sync_tensorboard=True,
    )


def create_folder(path: str) -> None:
    """Create an empty folder; one of that name is archived as `PATH_archived_TIME`."""
    if Path(path).exists():
        archive = free_path(Path(f"{path}_archived_{get_time_str()}"))
        print(f"{path} exists; it is archived as {archive}.", flush=True)
        Path(path).rename(archive)
    Path(path).mkdir(parents=True, exist_ok=True)


def get_root_logger_of_run(
    logger_name: str = "basicsr", log_level: int = logging.INFO, log_file: str | None = None
) -> logging.Logger:
    """BasicSR's logger; what is for the log file alone is kept from the terminal."""
    logger: logging.Logger = get_root_logger(logger_name, log_level, log_file)
    for handler in logger.handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.addFilter(_is_for_the_terminal)
    logger.info(f"Options and versions are in {log_file}.")
    return logger


def _is_for_the_terminal(record: logging.LogRecord) -> bool:
    """Whether a message is not about options and versions, a part built, or all its layers."""
    message = record.getMessage()
    return not message.startswith("\n") and not BUILT.match(message)


def load_resume_state(opt: Options) -> dict[str, Any] | None:
    """The training state to resume from, or None to start from scratch.

    The experiment is this run's from here on. The options are set so that the run begins with the
    state's network, seed and position. What an experiment holds of later iterations is set aside.

    Raises:
        CheckpointError: the state or its network cannot be read.
        OptionsError: options have changed that must not.
        RunError: another process trains the experiment.
    """
    home = Path(opt["path"]["experiments_root"])
    if opt["rank"] == 0:
        hold_experiment(home)
        if is_failed_start(home):
            remove_failed_start(home)
    found = state_to_resume(opt)
    if found is None:
        if opt["auto_resume"] and opt["rank"] == 0:
            print(
                f"--auto_resume: no training state in {opt['path']['training_states']}; starting "
                "from scratch.",
                flush=True,
            )
        return None
    if opt["rank"] == 0:
        if found.changed:
            print(
                f"Changed since {found.path} was written:", *found.changed, sep="\n  - ", flush=True
            )
        for place in ("models", "training_states"):
            Path(opt["path"][place]).mkdir(parents=True, exist_ok=True)
            # the experiment is held: nobody else writes
            remove_unfinished(Path(opt["path"][place]))
        if not opt["auto_resume"]:
            set_aside_after(home, found.state["iter"])
    opt["path"] |= {
        "resume_state": str(found.path),
        "pretrain_network_g": str(network_beside(found.path, found.state["iter"])),
        "param_key_g": "params",
        "strict_load_g": True,
    }
    start = start_of(opt)
    start.iterations_done, start.images = found.state["iter"], found.state.get("images")
    return found.state
