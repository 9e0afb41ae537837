"""Converting checkpoints between names and formats without loss."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from constyle_arch.checkpoints.detection import detect_network
from constyle_arch.checkpoints.loading import own_names
from constyle_arch.checkpoints.published_names import (
    LEFT_OUT,
    is_published,
    left_out_of,
    to_published,
)
from constyle_arch.checkpoints.reading import (
    DIGEST,
    SECTIONS,
    WINDOW,
    StateDict,
    digest_of,
    noted_window,
    read_checkpoint,
    weights_in,
)
from constyle_arch.checkpoints.trained import located
from constyle_arch.errors import CheckpointError
from constyle_arch.files import save_atomically, save_bytes_atomically


def convert(
    source: str,
    target: str,
    *,
    names: str = "own",
    key: str | None = None,
    tlc: int | None = None,
    overwrite: bool = False,
) -> None:
    """Write the weights in `source` to `target` under other names or in another format.

    What a release holds besides a network for inference (momentum encoder, queue, what nothing
    calls) is kept under names that begin with `left_out/` and takes its own names again on the way
    back.

    Args:
        source: a `.pth` or `.safetensors` file, or an `.npz` of MAXIM's release.
        target: the file to write; its suffix decides the format. `.safetensors` holds one set of
            weights.
        names: `own` or `published`.
        key: the section of `source` to convert alone; left out, a `.pth` keeps all its sections.
        tlc: the window of local statistics to note, in pixels; 0: the whole image; left out, that
            of `source`.
        overwrite: replace `target` if it is there.

    Raises:
        CheckpointError: `source` cannot be read or has no such names, `target` already exists, is
            of another format or cannot note the window, or several sections are to go into a
            `.safetensors`.
    """
    file = Path(target)
    if file.exists() and (not overwrite or file.resolve() == Path(source).resolve()):
        advice = "choose another name" if overwrite else "choose another name or add --overwrite"
        raise CheckpointError(f"{target} already exists; {advice}.")
    content = read_checkpoint(source)
    if key is not None or not any(section in content for section in SECTIONS):
        converted: Mapping[str, Any] = _renamed(weights_in(content, source, key), names)
    else:
        converted = {
            name: _renamed(weights_in(content, source, name), names) if name in SECTIONS else value
            for name, value in content.items()
        }
    window = noted_window(located(source)) if tlc is None else tlc
    if window and file.suffix == ".pth":
        raise CheckpointError(
            f"{target} cannot note the window of {window} pixels; write a .safetensors, or add "
            "--tlc off."
        )
    if file.suffix == ".pth":
        save_atomically(dict(converted), file)
    elif file.suffix != ".safetensors":
        raise CheckpointError(f"{target} must end in .pth or .safetensors.")
    elif not all(isinstance(value, Tensor) for value in converted.values()):
        raise CheckpointError(
            f"{source} has the keys {', '.join(converted)} and a .safetensors holds one set of "
            "weights; choose one with --key."
        )
    else:
        save_safetensors(converted, file, window)


def save_safetensors(weights: Mapping[str, Tensor], path: Path, window: int | None) -> None:
    """Write weights to a `.safetensors` that notes their digest and their network's window."""
    from safetensors.torch import save

    tensors = {name: tensor.cpu().contiguous() for name, tensor in weights.items()}
    metadata = {"format": "pt", DIGEST: digest_of(tensors)}
    if window:
        metadata[WINDOW] = str(window)
    save_bytes_atomically(save(tensors, metadata), path)


def _renamed(weights: StateDict, names: str) -> StateDict:
    kept = {name: tensor for name, tensor in weights.items() if name.startswith(LEFT_OUT)}
    own = own_names(weights)
    if names == "own":
        left_out = {LEFT_OUT + name: tensor for name, tensor in left_out_of(weights).items()}
        return {**own, **left_out, **kept}
    if is_published(weights):
        return weights
    left_out = {name.removeprefix(LEFT_OUT): tensor for name, tensor in kept.items()}
    return {**to_published(own, detect_network(own)[0]), **left_out}
