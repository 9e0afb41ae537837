"""The folder of a training run: whose it is, and which state in it can be gone on with."""

import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from constyle_arch.checkpoints.reading import read_checkpoint
from constyle_arch.errors import CheckpointError, RunError

STATE_KEYS = {"epoch", "iter", "optimizers", "schedulers"}

_held: list[IO[str]] = []


def hold_experiment(folder: Path) -> None:
    """Keep other runs out of an experiment until this process ends.

    Raises:
        RunError: another process trains it.
    """
    file = (folder / ".running").open("w")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise RunError(f"Another process is training {folder}; stop it first, or choose another name.") from None
    _held.append(file)  # the lock ends with the process, however it ends


def newest_state(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest training state in `folder` that is whole, as is its network; None where there are none at all.

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
        raise CheckpointError(f"{folder} holds no training state that can be gone on with: {errors[0]}")
    return None


def read_state(path: Path) -> dict[str, Any]:
    """A training state whose network is there too.

    Raises:
        CheckpointError: the state or its network is missing or damaged.
    """
    state = dict(read_checkpoint(path))
    missing = STATE_KEYS - set(state)
    if missing:
        raise CheckpointError(f"{path} is no training state; it lacks {', '.join(sorted(missing))}.")
    for network in networks_of(path, state["iter"]):
        read_checkpoint(network)
    return state


def networks_of(state: Path, iteration: int) -> Iterator[Path]:
    """The networks saved with a state, in the experiment it is from."""
    yield state.parent.parent / "models" / f"net_g_{iteration}.pth"
