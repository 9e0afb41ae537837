"""Weights that torchvision downloads where they are used first."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch

from constyle_arch.errors import RunError


def file_of(weights: Any) -> Path:
    """Where torchvision keeps weights that it has downloaded."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name


def download(needed: Iterable[tuple[str, Any]]) -> None:
    """Download torchvision's weights: the option that needs them, and which they are.

    Raises:
        RunError: that fails.
    """
    for needed_by, weights in needed:
        try:
            weights.get_state_dict(progress=True, check_hash=True)
        except (URLError, ConnectionError, TimeoutError) as error:
            raise RunError(
                f"{needed_by} needs {weights.url}, which cannot be downloaded ({error}); connect "
                f"to the network, or download it elsewhere and copy it to {file_of(weights)}."
            ) from error
