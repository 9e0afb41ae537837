"""What several networks share: restoring images of any size, layers, and cheap values recomputed.

The networks are channels-last: their weights are from construction on, and convolutions hand that
layout on to every feature. They compute the same in the other layout, only slower.
"""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.amp import is_autocast_available
from torch.utils.checkpoint import checkpoint


def check_dim(dim: int) -> None:
    """Raise a ValueError unless a network can be `dim` channels wide."""
    if dim <= 0 or dim % 4:
        raise ValueError(
            f"dim is {dim}; it must be a positive multiple of 4 (a level's channels are quartered)."
        )


def check_heads(heads: int, channels: int) -> None:
    """Raise a ValueError unless so many attention heads can share `channels`."""
    if heads < 1 or channels % heads:
        raise ValueError(
            f"heads is {heads} on a level of {channels} channels; heads must divide the channels."
        )


def check_choice(option: str, value: object, choices: Collection[str]) -> None:
    """Raise a ValueError unless the `value` of an option is one of the choices."""
    if value not in choices:
        raise ValueError(f"{option} is {value!r}; it must be {' or '.join(choices)}.")


def initialize_convolutions(module: nn.Module, slope: float = 1) -> None:
    """Initialize all convolutions as He et al. (arXiv 1502.01852) do before a LeakyReLU.

    Args:
        module: what holds them; changed in place.
        slope: of the activation for negative values; 1 stands for no activation.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, slope)


def make_channels_last(network: nn.Module) -> None:
    """Lay the weights of `network` out channels-last, and with them everything it computes."""
    # torch's stubs know it positional only
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


FEW_CHANNELS = 256
"""Of so many at most, a convolution with a bias is faster than a matrix product on CPUs."""


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The 1×1 convolution of `x` (N, C, H, W) by `weight` (O, C).

    Channels-last, it is a matrix product. On CPUs that has the faster gradients; without gradients
    it is slower where few channels get a bias, which a product copies first. Compilers, exporters
    and processors for which float32 products are slow are given the convolution.
    """
    faster = torch.is_grad_enabled() or bias is None or x.shape[1] > FEW_CHANNELS
    eager = x.is_cpu and not torch.compiler.is_compiling()
    product = faster and eager and not (x.dtype == torch.float32 and products_are_slow())
    if product and x.is_contiguous(memory_format=torch.channels_last):
        return F.linear(x.permute(0, 2, 3, 1), weight, bias).permute(0, 3, 1, 2)
    return F.conv2d(x, weight[:, :, None, None], bias)


@cache
def products_are_slow() -> bool:
    """Whether float32 products are slower than convolutions on this machine's processor: on AMD's.

    PyTorch leaves such products to MKL, which is made for Intel's, and convolutions to oneDNN.
    """
    capabilities = getattr(torch.cpu, "get_capabilities", None)  # recent PyTorch has it
    return capabilities is not None and "AMD" in capabilities().get("cpu_name", "")


class Dense(nn.Linear):
    """A linear map of every pixel of (N, C, H, W): a 1×1 convolution whose weight is a matrix."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_features, H, W) to (N, out_features, H, W)."""
        return pointwise(x, self.weight, self.bias)


class LayerNorm2d(nn.LayerNorm):
    """Layer normalisation over the channels of (N, C, H, W), with learned scale and shift."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each pixel of `x` over its channels."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class RestorationNetwork(nn.Module):
    """A network that restores images of any size; what it computes is added to the image.

    A subclass says in `restore` what is to be added to an image whose sides are divisible by
    `multiple`.
    """

    multiple = 1
    """Height and width must be divisible by it inside; `forward` pads to it and crops back."""
    zero_padding = False
    """Whether it pads with zeros instead of mirroring the border."""
    in_channels = out_channels = 3
    """Of the images that it takes and restores."""
    restore: Callable[..., Tensor]

    def forward(self, lq: Tensor) -> Tensor:
        """Restore `lq` (N, in_channels, H, W) in [0, 1], of any size; the result is not clamped.

        Raises:
            ValueError: `lq` does not have `in_channels` channels.
        """
        return self.restored(lq, self.padded(lq))

    def padded(self, lq: Tensor) -> Tensor:
        """`lq`, extended at its bottom and right until both sides are divisible by `multiple`."""
        lq = checked_image(lq, self.in_channels)
        if self.zero_padding:
            return F.pad(lq, (0, -lq.shape[3] % self.multiple, 0, -lq.shape[2] % self.multiple))
        return pad_to_multiple(lq, self.multiple)

    def restored(self, lq: Tensor, image: Tensor, *conditions: Any) -> Tensor:
        """What `restore` makes of `image`, the padded `lq`, added to it and cropped to its size."""
        return (self.restore(image, *conditions) + image)[..., : lq.shape[2], : lq.shape[3]]


def checked_image(image: Tensor, channels: int = 3) -> Tensor:
    """`image`, if it is a batch of images of so many channels: 3 for RGB.

    Raises:
        ValueError: its shape is not (N, channels, H, W).
    """
    if image.dim() != 4 or image.shape[1] != channels:
        kind = "RGB in [0, 1]" if channels == 3 else "in [0, 1]"
        raise ValueError(
            f"The input has shape {tuple(image.shape)}; wanted (N, {channels}, H, W), {kind}."
        )
    return image


def channels_of(network: nn.Module) -> int:
    """How many channels the images of `network` have: 3 unless it says otherwise."""
    return int(getattr(network, "in_channels", 3))


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Extend `image` (N, C, H, W) at bottom and right until `multiple` divides both sides.

    The border is mirrored; where a side is too short for that, the last pixels are repeated on both
    sides instead.
    """
    height, width = image.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    if bottom == 0 and right == 0:
        return image
    mode = "reflect" if bottom < height and right < width else "replicate"
    return F.pad(image, (0, right, 0, bottom), mode=mode)


def gradient_checkpoint(function: Callable[..., Any], *inputs: Tensor) -> Any:
    """`function(*inputs)`, recomputing its inner values in the backward pass (checkpointing).

    For values that are cheap to compute and large to keep: activations and products. The input of a
    convolution that comes last in `function` is recomputed, the convolution itself is not.
    """
    if not torch.is_grad_enabled():
        return function(*inputs)
    return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)


class TakesStatistics(nn.Module):
    """Takes a statistic over an image; in evaluation, with `window`, over windows of that side."""

    window: int | None = None

    def is_local(self, x: Tensor) -> bool:
        """Whether windows are smaller than `x` (N, C, H, W)."""
        return self.window is not None and not self.training and max(x.shape[2:]) > self.window


class ChannelMeans(TakesStatistics):
    """The mean of each channel: over the image, or with `window` over one around each pixel.

    Near the image's borders it is that of the nearest window inside.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, 1, 1), or to (N, C, H, W) where windows are smaller."""
        if self.window is None or not self.is_local(x):
            return x.mean(dim=(2, 3), keepdim=True)
        means = at_least_float32(x)
        with without_autocast(x.device):
            for dim in (2, 3):
                means = sliding_means(means, self.window, dim)
        return means.to(x.dtype)


PLACES = 256
"""Of which sliding means are computed at a time: more would multiply with more zeros."""


def sliding_means(x: Tensor, window: int, dim: int) -> Tensor:
    """The means of `x` (N, C, H, W) along `dim`, 2 or 3, over `window` neighbours.

    Near the ends they are those of the outermost window. They are products with matrices of zeros
    and ones, which processors compute faster than cumulative sums.
    """
    length = x.shape[dim]
    window = min(window, length)
    before, last = (window - 1) // 2, length - window
    lines = x.permute(0, 5 - dim, dim, 1)
    means = []
    for start in range(0, length, PLACES):
        here = torch.arange(start, min(start + PLACES, length), device=x.device)[:, None]
        first = (here - before).clamp(0, last)
        end = min(max(start + PLACES - 1 - before, 0), last) + window
        read = slice(min(max(start - before, 0), last), end)
        places = torch.arange(read.start, read.stop, device=x.device)
        inside = ((places >= first) & (places < first + window)).to(x.dtype)
        means.append(inside @ lines[:, :, read] / window)
    joined = torch.cat(means, dim=2)
    return joined.permute(0, 3, 2, 1) if dim == 2 else joined.permute(0, 3, 1, 2)


def at_least_float32(x: Tensor) -> Tensor:
    """`x`, half precision as float32: for sums over images and for what losses compare."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class Stage(nn.Sequential):
    """Blocks in turn. With `checkpointing` only their inputs are kept for the backward pass."""

    checkpointing = False

    def forward(self, x: Tensor) -> Tensor:
        """Pass `x` (N, C, H, W) through the blocks."""
        for block in self:
            x = gradient_checkpoint(block, x) if self.checkpointing else block(x)
        return x


def compile_blocks(network: nn.Module, *, dynamic: bool) -> None:
    """Have `torch.compile` compile each block of a network, or all of a network without stages.

    Blocks of one kind and width share what is compiled, and dozens of them make a network:
    compiling them takes a fraction of the time that the network as one graph takes.

    Args:
        network: is changed in place; its blocks are compiled when they are called.
        dynamic: whether images are of many sizes.
    """
    stages = [module for module in network.modules() if isinstance(module, Stage)]
    blocks = [block for stage in stages for block in stage]
    # all share the code of `nn.Module.__call__`, of which 8 forms are compiled by default
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, len(blocks))
    for block in blocks or [network]:
        block.compile(dynamic=dynamic)


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """For what must not be computed in half precision, though it is called under autocast."""
    known = is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else nullcontext()
