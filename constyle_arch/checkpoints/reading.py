"""Reading weights from a checkpoint, whoever wrote it, without running what is in it."""

import hashlib
import logging
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from constyle_arch.checkpoints.jax import from_jax
from constyle_arch.checkpoints.trained import checkpoint_file
from constyle_arch.errors import CheckpointError

SECTIONS = ("params_ema", "params", "state_dict", "model", "net", "network", "generator")
"""Where a checkpoint may keep its weights, the preferred one first."""

WRAPPERS = ("module.", "_orig_mod.", "net_g.", "model.")
"""Prefixes of networks that were part of something: DDP, torch.compile, Lightning."""

StateDict = dict[str, Tensor]

DIGEST = "sha256"
"""Under which a .safetensors that `conversion` wrote notes `digest_of` its weights."""

WINDOW = "tlc"
"""Key under which a .safetensors notes its network's window of local statistics, in pixels."""

ADVICE = "Take another copy of it."

ZIP_START = b"PK\x03\x04"


def read_state_dict(path: str | Path, key: str | None = None) -> StateDict:
    """The weights in a `.pth` or `.safetensors` file; see `read_checkpoint` and `weights_in`."""
    return weights_in(read_checkpoint(path), str(path), key)


def weights_in(content: Mapping[str, Any], path: str, key: str | None = None) -> StateDict:
    """The weights of a checkpoint, without the `WRAPPERS` that all names begin with.

    Args:
        content: what `read_checkpoint` returned.
        path: where it is from, for the message.
        key: which of its sections to take, see `section_of`; a file of weights alone has none.

    Raises:
        CheckpointError: there is no such key, or something else than weights under it.
    """
    section = section_of(content, path, key)
    weights = content if section is None else content[section]
    if not isinstance(weights, Mapping) or not all(
        isinstance(tensor, Tensor) for tensor in weights.values()
    ):
        raise CheckpointError(f"{path}: the content of {section!r} is not a set of weights.")
    if not weights:
        raise CheckpointError(f"{path}: {section!r} holds no weights. {ADVICE}")
    by_default = section == "params_ema" and key is None
    if by_default and _is_without_statistics(weights, content.get("params")):
        _warn_once(
            f"{path}: params_ema has BatchNorm's initial statistics, 0 and 1, and params those of "
            "the training: they are two networks. params_ema is taken, of which the published "
            "numbers are; --key params or path.param_key_g: params takes the other one."
        )
    return _unwrapped({str(name): tensor for name, tensor in weights.items()})


def _is_without_statistics(averages: Mapping[Any, Tensor], weights: Any) -> bool:
    """Whether BatchNorm's statistics are all initial in the averages, but not in the weights."""
    if not isinstance(weights, Mapping):
        return False

    def is_initial(statistic: object, name: str) -> bool:
        value = 0 if name.endswith("running_mean") else 1
        return not isinstance(statistic, Tensor) or bool((statistic == value).all())

    names = [name for name in averages if str(name).endswith(("running_mean", "running_var"))]
    return all(is_initial(averages[name], name) for name in names) and not all(
        is_initial(weights.get(name), name) for name in names
    )


@cache
def _warn_once(message: str) -> None:
    logging.getLogger("basicsr").warning(message)


def _unwrapped(weights: StateDict) -> StateDict:
    for wrapper in WRAPPERS:
        if weights and all(name.startswith(wrapper) for name in weights):
            inside = {name.removeprefix(wrapper): tensor for name, tensor in weights.items()}
            return _unwrapped(inside)
    return weights


def section_of(content: Mapping[str, Any], path: str, key: str | None = None) -> str | None:
    """The section of a checkpoint that weights are taken from; None for a file without sections.

    It is `key`, or else the first of `SECTIONS` that is there.

    Raises:
        CheckpointError: there is no such section, or the file is a training state.
    """
    if content and all(isinstance(value, Tensor) for value in content.values()):
        if key:
            raise CheckpointError(
                f"{path} holds weights alone, without sections; leave the key {key!r} out."
            )
        return None
    if is_training_state(content):
        raise CheckpointError(
            f"{path} is a training state, which holds no weights; name the network saved with it, "
            f"models/net_g_{content.get('iter')}.pth beside its folder."
        )
    section = key or next((section for section in SECTIONS if section in content), None)
    if section is None or section not in content:
        wanted = repr(key) if key else "one of " + ", ".join(SECTIONS)
        raise CheckpointError(
            f"{path} has no key {wanted}; it has {', '.join(map(str, content)) or 'none'}."
        )
    return section


def is_training_state(content: Mapping[str, Any]) -> bool:
    """Whether a file is what a training resumes from, rather than a checkpoint."""
    return isinstance(content.get("optimizers"), list)


def read_checkpoint(path: str | Path) -> Mapping[str, Any]:
    """The content of a checkpoint file: its sections, or its weights where it holds nothing else.

    The path may be the name of a pretrained network (`checkpoints.trained`).

    Checksums are verified where a file has them: those of torch's zip archives, and `digest_of` in
    a .safetensors. Files of torch before 1.6, and a .safetensors of another program, have none.

    Raises:
        CheckpointError: the file is missing, damaged or no checkpoint, or holds more than plain
            data.
    """
    path = checkpoint_file(path)
    try:
        if path.suffix.lower() == ".safetensors":
            return _read_safetensors(path)
        if path.suffix.lower() == ".npz":
            with np.load(path) as arrays:
                return from_jax(arrays)
        _verify_zip(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is an error here
            content = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is damaged, or holds more than weights and plain data{_asked_for(error)}, and "
            "is not opened."
        ) from error
    except Exception as error:  # torch and safetensors raise a dozen types for a damaged file
        raise CheckpointError(
            f"{path} cannot be read; it is damaged or no checkpoint: {_first_line(error)}"
        ) from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not weights.")
    return content


def digest_of(weights: Mapping[str, Tensor]) -> str:
    """The SHA-256 of names, types, shapes and numbers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def noted_window(path: Path) -> int | None:
    """The window of local statistics noted in a file, in pixels; None for the whole image.

    Raises:
        CheckpointError: what is noted is no number of pixels.
    """
    if path.suffix.lower() != ".safetensors":
        return None
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        noted = (file.metadata() or {}).get(WINDOW)
    if noted is None:
        return None
    if not noted.isdecimal() or int(noted) < 1:
        raise CheckpointError(
            f"{path} notes {WINDOW}: {noted!r}; it must be a number of pixels, at least 1."
        )
    return int(noted)


def _read_safetensors(path: Path) -> StateDict:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        # it is no mapping
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        noted = (file.metadata() or {}).get(DIGEST)
    if noted is not None and noted != digest_of(weights):
        raise CheckpointError(
            f"{path} is damaged: its weights do not have the SHA-256 noted with them. {ADVICE}"
        )
    return weights


def _verify_zip(path: Path) -> None:
    """Compare a zip archive's checksums, which torch writes and does not read."""
    with path.open("rb") as file:
        if file.read(len(ZIP_START)) != ZIP_START:
            return
    with zipfile.ZipFile(path) as archive:
        # torch can be told so
        without_checksums = not any(member.CRC for member in archive.infolist())
        damaged = None if without_checksums else archive.testzip()
    if damaged is not None:
        raise CheckpointError(
            f"{path} is damaged: its part {damaged} does not have the checksum noted with it. "
            f"{ADVICE}"
        )


def _asked_for(error: Exception) -> str:
    """What a pickle would have called; the rest of torch's message is advice to let it."""
    found = re.search(r"GLOBAL (\S+)", str(error))
    return f" (it asks for {found[1]})" if found else ""


def _first_line(error: Exception) -> str:
    text, kind = str(error).strip(), type(error).__name__
    if "weights_only" in text:
        return "it is a TorchScript archive" if "TorchScript" in text else kind
    return (text or kind).splitlines()[0]
