"""Pretrained networks: their weights, a model card each, and how they are found by name.

A name may replace a checkpoint's path anywhere: `basicsr restore --weights denoise`,
`load_network("denoise")`, `path.pretrain_network_g: denoise`. A file of yours that is called so
is named by a path, `./denoise`.
"""

import hashlib
from pathlib import Path

from constyle_arch.checkpoints.experiments import network_in
from constyle_arch.errors import CheckpointError, listed

FOLDER = Path(__file__).parent

TRAINED = {
    "denoise": "removes noise of unknown strength, σ up to 50, from colour photographs",
    "derain": "removes light rain",
    "dehaze": "removes haze, indoors above all",
}
"""What each network does, by its name."""

CHECKSUMS = FOLDER / "SHA256SUMS"
"""As `sha256sum --check` reads them."""


def located(path: str | Path) -> Path:
    """The file that is meant, everywhere that a checkpoint is named.

    Args:
        path: the name of a pretrained network; a file, which may not be there; or an experiment's
            folder, which stands for its best network, or its last where none was validated.

    Returns:
        A path that means the same file when it is located again: `./denoise` does not become the
        name `denoise`.

    Raises:
        CheckpointError: the weights of that name are not those that were released, the folder
            holds no network, or the name is empty.
    """
    name = str(path)
    if not name:
        raise CheckpointError("The checkpoint's name is empty; name a file or a network.")
    if name not in TRAINED:
        path = Path(path).expanduser()
        if path.is_dir():
            return network_in(path)
        return path.absolute() if str(path) in TRAINED else path
    file = FOLDER / f"{name}.safetensors"
    digest = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
    if f"{digest}  {file.name}" not in CHECKSUMS.read_text(encoding="ascii").splitlines():
        raise CheckpointError(
            f"The pretrained network {name}, {file}, is missing or damaged; reinstall the package."
        )
    return file


def checkpoint_file(path: str | Path) -> Path:
    """The file that is meant, as `located` finds it, which is there.

    Raises:
        CheckpointError: it is not.
    """
    file = located(path)
    if not file.is_file():
        raise CheckpointError(
            f"The checkpoint {file} does not exist. The pretrained networks are called "
            f"{listed(list(TRAINED))}."
        )
    return file


def overview() -> str:
    """The pretrained networks, a line each."""
    width = max(map(len, TRAINED))
    return "".join(f"{name:<{width}}  {what}\n" for name, what in TRAINED.items())
