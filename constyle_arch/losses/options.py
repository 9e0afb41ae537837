"""The losses of `train`: any section `<name>_opt` is one, logged as `l_<name>`.

What a loss takes it says by its attribute `TAKES`, the names of its arguments. A loss without it
takes `restored` and `clean`, (N, 3, H, W) each, as BasicSR's do.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

SUFFIX = "_opt"
LOG_NAMES = {"pixel_opt": "l_pix", "perceptual_opt": "l_percep"}
"""Names in the log that BasicSR has made usual."""

RESTORATION = ("restored", "clean")
"""What every loss may take, and takes where it does not say so: images (N, 3, H, W)."""

CONTRAST = ("query", "positive", "queue", "codes", "negatives")
"""What losses of `ConStyleModel` may take besides; they are computed as long as ConStyle trains.

- `codes`: both codes of the degraded images, `Codes` of (N, 128) each; `query` is the second;
- `positive`: the momentum encoder's code of each image's positive, (N, 128);
- `queue`: past codes, (128, K), and `negatives`: `Codes` out of it, (N, 128) each.
"""


def loss_options(train_opt: Mapping[str, Any]) -> dict[str, Any]:
    """The sections of `train` that describe losses, in the file's order, without empty ones."""
    return {str(name): opt for name, opt in train_opt.items() if str(name).endswith(SUFFIX) and opt}


def log_name(option: str) -> str:
    """What the loss of `train.<option>` is called in the log."""
    return LOG_NAMES.get(option, f"l_{option.removesuffix(SUFFIX)}")


def taken_by(loss: object) -> tuple[str, ...]:
    """What a loss, or a class of losses, takes."""
    return tuple(getattr(loss, "TAKES", RESTORATION))


def by_log_name(option: str, value: Tensor | tuple[Tensor | None, ...]) -> dict[str, Tensor]:
    """A loss by its name in the log.

    BasicSR's perceptual loss has two parts, of content and of style, either of which may be None.
    """
    if isinstance(value, Tensor):
        return {log_name(option): value}
    names = (log_name(option), f"{log_name(option)}_style")
    return {name: part for name, part in zip(names, value, strict=True) if part is not None}
