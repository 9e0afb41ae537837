"""Local statistics at test time: pooling over a window of the training crops' size instead of the whole image.

Source: Chu et al., "Improving Image Restoration by Revisiting Global Information Aggregation", ECCV 2022, arXiv
2112.04491 (TLC).
"""

import torch
from torch import Tensor, nn

from constyle_arch.archs.layers import ChannelMeans, channels_of

WINDOW = 192
"""Side of the window, in pixels of the image: one and a half of the recipes' crops, as in TLC."""


@torch.inference_mode()
def use_local_statistics(network: nn.Module, window: int | None = WINDOW) -> None:
    """Have a network's channel attention pool over a window around each pixel, as far as the image goes.

    NAFNet's, KBNet's and MAXIM's blocks pool; for Restormer, whose do not, tiles are what keeps statistics local.

    Args:
        network: is changed in place.
        window: side of the window in pixels of the image, rounded up to what the network divides by; None goes back to
            the whole image.

    Raises:
        ValueError: `window` is not positive.
    """
    if window is not None and window < 1:
        raise ValueError(f"window is {window}; it must be at least 1 pixel, or None.")
    pools = [module for module in network.modules() if isinstance(module, ChannelMeans)]
    for module in pools:
        module.window = None
    if window is None or not pools:
        return

    def note(pool: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        seen[pool] = inputs[0].shape[-1]

    seen: dict[nn.Module, int] = {}
    hooks = [pool.register_forward_hook(note) for pool in pools]
    was_training = network.training
    parameter = next(network.parameters())
    image = torch.zeros(1, channels_of(network), window, window, device=parameter.device, dtype=parameter.dtype)
    network.eval()(image)
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    for pool, side in seen.items():
        assert isinstance(pool, ChannelMeans)
        pool.window = side
