"""Reading weights from a checkpoint file, whoever wrote it, without running anything that is in it."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from constyle_arch.errors import CheckpointError, listed
from constyle_arch.trained import TRAINED, located

SECTIONS = ("params_ema", "params", "state_dict")
"""Where a checkpoint may keep its weights, the preferred one first."""

StateDict = dict[str, Tensor]


def read_state_dict(path: str | Path, key: str | None = None) -> StateDict:
    """The weights in a `.pth` or `.safetensors` file; see `read_checkpoint` and `weights_in`."""
    return weights_in(read_checkpoint(path), str(path), key)


def weights_in(content: Mapping[str, Any], path: str, key: str | None = None) -> StateDict:
    """The weights of a checkpoint, under the names they have there less any `module.` prefix.

    Args:
        content: what `read_checkpoint` returned.
        path: where it is from, for the message.
        key: which of its sections to take, see `section_of`. A file that holds nothing but
            weights has no sections, and the key is not looked at.

    Raises:
        CheckpointError: there is no such key, or something else than weights under it.
    """
    section = section_of(content, path, key)
    weights = content if section is None else content[section]
    if not isinstance(weights, Mapping) or not all(isinstance(tensor, Tensor) for tensor in weights.values()):
        raise CheckpointError(f"{path}: what stands under {section!r} is not a set of weights.")
    return {str(name).removeprefix("module."): tensor for name, tensor in weights.items()}


def section_of(content: Mapping[str, Any], path: str, key: str | None = None) -> str | None:
    """The section of a checkpoint that weights are taken from; None for a file without sections.

    Args:
        content: what `read_checkpoint` returned.
        path: where it is from, for the message.
        key: the section asked for; left out, the first of `SECTIONS` that is there.

    Raises:
        CheckpointError: there is no such section.
    """
    if content and all(isinstance(value, Tensor) for value in content.values()):
        return None
    section = key or next((section for section in SECTIONS if section in content), None)
    if section is None or section not in content:
        wanted = repr(key) if key else "one of " + ", ".join(SECTIONS)
        raise CheckpointError(f"{path} has no key {wanted}; it has {', '.join(map(str, content)) or 'none'}.")
    return section


def read_checkpoint(path: str | Path) -> Mapping[str, Any]:
    """The content of a checkpoint file: its sections, or its weights where it holds nothing else.

    Args:
        path: of the file, or the name of a trained network (`constyle_arch.trained`).

    Raises:
        CheckpointError: the file is missing, damaged or no checkpoint, or holds more than plain data.
    """
    path = located(path)
    if not path.is_file():
        raise CheckpointError(
            f"The checkpoint {path} does not exist. The networks that come trained are called {listed(TRAINED)}."
        )
    try:
        if path.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is damaged, or holds more than weights and plain data and is not opened: {_first_line(error)}"
        ) from error
    except Exception as error:  # torch and safetensors raise a dozen types for a damaged file
        raise CheckpointError(f"{path} cannot be read; it is damaged or no checkpoint: {_first_line(error)}") from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not weights.")
    return content


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
