"""Local statistics at test time: over windows of about the training crops' size.

Source: Chu et al., "Improving Image Restoration by Revisiting Global Information Aggregation", ECCV
2022, arXiv 2112.04491 (TLC).
"""

import torch
from torch import Tensor, nn

from constyle_arch.archs.layers import TakesStatistics, channels_of
from constyle_arch.archs.maxim_blocks import TokenMixing

WINDOW = 192
"""Side of the window, in pixels of the image: one and a half of the recipes' crops, as in TLC."""


@torch.inference_mode()
def use_local_statistics(network: nn.Module, window: int | None = WINDOW) -> None:
    """Have channel attention take its statistics over windows instead of the image, in evaluation.

    The pooling of NAFNet, KBNet and MAXIM has a window around each pixel, Restormer's attention
    windows that overlap by half. ConStyle's code stays that of the whole image, and MAXIM's grid
    what it is.

    Args:
        network: is changed in place; one without such attention stays what it is.
        window: side of the windows in pixels of the image, rounded up to what the network divides
            by; None goes back to the whole image.

    Raises:
        ValueError: `window` is not positive.
    """
    if window is not None and window < 1:
        raise ValueError(f"window is {window}; it must be at least 1 pixel, or None.")
    local = [module for module in network.modules() if isinstance(module, TakesStatistics)]
    for module in local:
        module.window = None
    # modules take any attribute
    network.local_window = window if local else None  # type: ignore[assignment]
    if window is None or not local:
        return

    def note(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        seen[module] = inputs[0].shape[-1]

    seen: dict[nn.Module, int] = {}
    hooks = [module.register_forward_hook(note) for module in local]
    was_training = network.training
    parameter = next(network.parameters())
    shape = 1, channels_of(network), window, window
    image = torch.zeros(shape, device=parameter.device, dtype=parameter.dtype)
    network.eval()(image)
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    for module in local:
        module.window = seen.get(module)


def local_window(network: nn.Module) -> int | None:
    """The window that `use_local_statistics` was last called with; None for the whole image."""
    return getattr(network, "local_window", None)


def depends_on_tiles(network: nn.Module, tile: int) -> bool:
    """Whether a network takes statistics that differ between such a tile and the whole image.

    Plain convolutions take none, windows lie in tiles as in images, and MAXIM's grid is always the
    tile's.
    """
    modules = list(network.modules())
    if any(isinstance(module, TokenMixing) for module in modules):
        return True
    window = local_window(network)
    whole = window is None or tile < window
    return whole and any(isinstance(module, TakesStatistics) for module in modules)
