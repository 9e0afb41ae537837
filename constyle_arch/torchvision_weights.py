"""Weights that torchvision downloads where they are used first."""

from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch

from constyle_arch.errors import RunError


def file_of(weights: Any) -> Path:
    """Where torchvision keeps weights that it has downloaded."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name


def download(weights: Any, needed_by: str) -> None:
    """Download torchvision's weights, for the option `needed_by`.

    Raises:
        RunError: that fails.
    """
    try:
        weights.get_state_dict(progress=True, check_hash=True)
    except (URLError, ConnectionError, TimeoutError) as error:
        raise RunError(
            f"{needed_by} needs {weights.url}, which cannot be downloaded ({error}); connect to "
            f"the network, or download it elsewhere and copy it to {file_of(weights)}."
        ) from error
