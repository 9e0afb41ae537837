"""The folder of a training run: whose it is, and which state in it can be resumed from."""

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from filelock import BaseFileLock, FileLock, Timeout

from constyle_arch.checkpoints.reading import read_checkpoint
from constyle_arch.errors import CheckpointError, RunError
from constyle_arch.files import free_path
from constyle_arch.training.resuming import changes, check_changes, options_of_training, start_of

Options = dict[str, Any]

STATE_KEYS = {"epoch": int, "iter": int, "optimizers": list, "schedulers": list}

COPY_BEGINS = b"# GENERATE TIME:"
"""How the copy of an option file begins that BasicSR puts into an experiment."""

_held: dict[Path, BaseFileLock] = {}


class Found(NamedTuple):
    """A training state to resume from: file, content, and options changed since, in words."""

    path: Path
    state: dict[str, Any]
    changed: list[str]


def hold_experiment(folder: Path) -> None:
    """Keep other runs out of an experiment until this process ends, however it ends.

    The lock lies beside the folder, which may not be there yet or may be moved away:
    `experiments/.NAME.running`.

    Raises:
        RunError: another process trains it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.parent / f".{folder.name}.running")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunError(
            f"Another process is training {folder}; stop it first, or choose another name."
        ) from None
    _held[folder] = lock


def remove_what_failed_starts_left() -> None:
    """Remove this process's experiments in which nothing was saved: the command can be repeated."""
    for folder in _held:
        remove_failed_start(folder)


def is_failed_start(folder: Path) -> bool:
    """Whether an experiment holds only what every start writes: a log and a copy of the options.

    A run that fails before it has saved anything removes that; one that is killed cannot.
    """
    files = {path for path in folder.rglob("*") if not path.is_dir()}
    return folder.is_dir() and files == _written_by_starts(folder)


def remove_failed_start(folder: Path) -> None:
    """Remove what a start wrote to an experiment in which nothing was saved, and nothing else."""
    if any(folder.rglob("*.pth")) or any(folder.rglob("*.state")):
        return
    for file in _written_by_starts(folder):
        file.unlink()
    below = sorted(path for path in folder.rglob("*") if path.is_dir())
    with contextlib.suppress(OSError):  # not empty
        for empty in (*reversed(below), folder):
            empty.rmdir()


def _written_by_starts(folder: Path) -> set[Path]:
    copies = (file for file in folder.glob("*.yml") if file.read_bytes().startswith(COPY_BEGINS))
    return {*folder.glob("train_*.log"), *copies}


def state_to_resume(opt: Options) -> Found | None:
    """The state that `--auto_resume` or `path.resume_state` means; None for a run from scratch.
    Writes nothing.

    Raises:
        CheckpointError: the state or its network cannot be read.
        OptionsError: options have changed that must not.
    """
    found = newest_state(Path(opt["path"]["training_states"])) if opt["auto_resume"] else None
    if found is None and opt["path"].get("resume_state"):
        path = Path(opt["path"]["resume_state"])
        found = path, read_state(path)
    if found is None:
        return None
    path, state = found
    options_then = state.get("options", {})
    if start_of(opt).seed_was_drawn and "manual_seed" in options_then:
        opt["manual_seed"] = options_then["manual_seed"]
    changed = changes(options_then, options_of_training(opt))
    return Found(path, state, check_changes(changed, opt["train"]["scheduler"]["type"], str(path)))


def newest_state(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest state in `folder` that is whole, as is its network; None where there are none.

    Damaged ones are passed over with a message.

    Raises:
        CheckpointError: there are states, and none is whole.
    """
    states = {int(path.stem): path for path in folder.glob("*.state") if path.stem.isdigit()}
    errors = []
    for iteration in sorted(states, reverse=True):
        try:
            return states[iteration], read_state(states[iteration])
        except CheckpointError as error:
            errors.append(str(error))
            print(f"The state of iteration {iteration} cannot be used: {error}", flush=True)
    if errors:
        raise CheckpointError(
            f"{folder} holds no training state that can be resumed from: {errors[0]}"
        )
    return None


def read_state(path: Path) -> dict[str, Any]:
    """A training state whose network is there too.

    Raises:
        CheckpointError: the state or its network is missing or damaged.
    """
    state = dict(read_checkpoint(path))
    wrong = [key for key, kind in STATE_KEYS.items() if not isinstance(state.get(key), kind)]
    if wrong or not isinstance(state.get("options", {}), dict):
        raise CheckpointError(
            f"{path} is no training state; it lacks {', '.join(sorted(wrong)) or 'options'}."
        )
    read_checkpoint(network_beside(path, state["iter"]))
    return state


def network_beside(state: Path, iteration: int) -> Path:
    """The network saved with a state, in the experiment it is from."""
    return state.parent.parent / "models" / f"net_g_{iteration}.pth"


def set_aside_after(home: Path, iteration: int) -> None:
    """Move what an experiment holds of later iterations into a folder `abandoned_TIME` of it."""
    states = [path for path in (home / "training_states").glob("*.state") if path.stem.isdigit()]
    later = [path for path in states if int(path.stem) > iteration]
    if not later:
        return
    aside = free_path(home / time.strftime("abandoned_%Y%m%d_%H%M%S"))
    aside.mkdir()
    networks = [network_beside(path, int(path.stem)) for path in later]
    networks += [home / "models" / f"net_g_{version}.pth" for version in ("latest", "best")]
    for path in (*later, *networks):
        if path.is_file():
            path.rename(aside / path.name)
    print(f"Going back to iteration {iteration}: what came after it is in {aside}.", flush=True)


def remove_old_checkpoints(paths: Mapping[str, Any], iteration: int, keep: int) -> None:
    """Remove all but the newest checkpoints with their states; `best` and `latest` stay.

    Args:
        paths: `path` of the run's options.
        iteration: whose checkpoint has been written completely; what an earlier run left of later
            ones is not touched.
        keep: how many checkpoints are left.
    """
    models, states = Path(paths["models"]), Path(paths["training_states"])
    written = [*models.glob("net_g_*.pth"), *states.glob("*.state")]
    stems = {path: path.stem.removeprefix("net_g_") for path in written}
    numbers = {path: int(number) for path, number in stems.items() if number.isdecimal()}
    old = sorted({number for number in numbers.values() if number <= iteration})[:-keep]
    # a state never stands without its network
    for path in sorted(numbers, key=lambda path: path.suffix, reverse=True):
        if numbers[path] in old:
            path.unlink(missing_ok=True)
