"""What an experiment's folder says: its best network, and the options it was built with."""

from pathlib import Path
from typing import Any

from constyle_arch.errors import CheckpointError, UserError


def network_in(folder: Path) -> Path:
    """The network that stands for an experiment: the best, else the last, else the newest.

    The folder is `experiments/NAME`, or `models` in it.

    Raises:
        CheckpointError: there is no network.
    """
    models = folder / "models" if (folder / "models").is_dir() else folder
    numbered = [file for file in models.glob("net_g_*.pth") if _version(file).isdigit()]
    newest = sorted(numbered, key=lambda file: int(_version(file)), reverse=True)
    for file in (models / "net_g_best.pth", models / "net_g_latest.pth", *newest):
        if file.is_file():
            return file
    raise CheckpointError(
        f"{folder} holds no network; wanted an experiment's folder with models/net_g_….pth in it."
    )


def recipe_in(experiment: Path) -> tuple[str, dict[str, Any]]:
    """Name and content of the option file in `experiments/NAME`; empty where there is none."""
    from constyle_arch.options.reading import read_option_file

    files = experiment.glob("*.yml")
    for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
        try:
            options = read_option_file(str(file))
        except UserError:
            continue
        if isinstance(options.get("network_g"), dict):
            return file.name, options
    return "", {}


def experiment_options(checkpoint: Path) -> dict[str, Any]:
    """The options of the experiment of a checkpoint, `experiments/NAME/models/net_g_….pth`.

    Empty where the checkpoint lies in no experiment.
    """
    return recipe_in(checkpoint.absolute().parent.parent)[1]


def _version(file: Path) -> str:
    return file.stem.rsplit("_", 1)[1]
