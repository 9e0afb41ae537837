"""Restoring an image, whole or in tiles (arXiv 2402.15784, section 3)."""

import itertools
from collections.abc import Callable
from itertools import product
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from constyle_arch.archs.constyle_arch import Codes, ConStyle
from constyle_arch.archs.general_restoration_arch import GuidedNetwork
from constyle_arch.archs.layers import RestorationNetwork, channels_of, pad_to_multiple
from constyle_arch.images import quantized, to_float
from constyle_arch.tiles import Tile, cells_of, multiple_of, tiles_of

OVERLAP = 32
"""Pixels that neighbouring tiles share."""

PRECISIONS = (torch.float32, torch.bfloat16, torch.float16)

WHOLE: tuple[int, bool] = (0, False)
EIGHT_VIEWS = tuple(product(range(4), (False, True)))
"""Of an image: turned by so many right angles, and mirrored or not."""

AnyImage = TypeVar("AnyImage", Tensor, NDArray[Any])


@torch.inference_mode()
def restore(
    network: nn.Module,
    image: AnyImage,
    *,
    tile: int | None = None,
    overlap: int = OVERLAP,
    precision: torch.dtype = torch.float32,
    self_ensemble: bool = False,
    progress: bool | Callable[[int, int], object] = False,
) -> AnyImage:
    """Restore images of any size, in tiles where memory is to be bounded.

    A tile is restored with ConStyle's code of the whole image. What else a network takes from the
    whole image, attention between channels, pooling and MAXIM's grid, it then takes from the tile;
    docs/performance.md has by how much the results differ. Tiles overlap, and are blended linearly
    where they do.

    Args:
        network: an architecture of this package, or any network that maps an image to one of its
            size; it is put into evaluation mode.
        image: a tensor (N, 3, H, W) or (3, H, W), RGB in [0, 1], on any device; or an array (H, W,
            3), RGB, or (H, W), gray, of uint8, uint16, or floating-point numbers in [0, 1]. A
            network of another number of channels takes tensors of so many; one of a single channel
            takes gray arrays alone. With tiles, only one of them at a time goes to the network's
            device.
        tile: side of the tiles, in pixels; None restores the whole image at once.
        overlap: pixels that neighbouring tiles share, at least.
        precision: in which convolutions and matrix products compute: float32, bfloat16 or float16.
        self_ensemble: restore the image turned and mirrored in all eight ways and take the mean
            (Timofte et al., "Seven ways to improve example-based single image super resolution",
            CVPR 2016): eight times as long.
        progress: show a progress bar, in a terminal; or a function that is called after each tile
            with the number of tiles done and of all.

    Returns:
        The restored image, of the shape of `image` and where it is. Tensors are float32, not
        clamped, and of `torch.inference_mode`: clone them outside of it for autograd. Arrays have
        the type of `image`; integers are rounded and clipped to their range, a gray image is the
        mean of its channels.

    Raises:
        ValueError: `image` has another shape or type or is empty, `tile` is not positive, `overlap`
            does not fit it, or there is no such `precision`.
    """
    if tile is not None and tile < 1:
        raise ValueError(f"tile is {tile}; it must be at least 1 pixel.")
    if precision not in PRECISIONS:
        raise ValueError(
            f"precision is {precision}; it must be one of {', '.join(map(str, PRECISIONS))}."
        )
    lq = _batch(image, channels_of(network))
    device = next(network.parameters()).device
    network.eval()
    views = EIGHT_VIEWS if self_ensemble else (WHOLE,)
    steps = len(views) * (1 if tile is None else len(_grid(network, lq, tile, overlap)))
    restored: Tensor | None = None
    done = itertools.count(1)
    shown = progress is True and steps > 1
    with (
        torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32),
        tqdm(total=steps, unit="tile", disable=None if shown else True, leave=False) as bar,
    ):

        def advance() -> None:
            bar.update()
            if callable(progress):
                progress(next(done), steps)

        for turns, mirrored in views:
            view = lq.rot90(turns, (2, 3))
            view = view.flip(3) if mirrored else view
            view = _restore_view(network, view, tile, overlap, device, advance)
            view = (view.flip(3) if mirrored else view).rot90(-turns, (2, 3))
            restored = view if restored is None else restored.add_(view)
    assert restored is not None
    return _like(image, restored / len(views) if self_ensemble else restored)


def tensors_not_finite(network: nn.Module) -> list[str]:
    """The names of a network's weights and statistics that hold NaN or infinite numbers."""
    return [name for name, tensor in network.state_dict().items() if not tensor.isfinite().all()]


def _batch(image: Tensor | NDArray[Any], channels: int) -> Tensor:
    """An image as a tensor (N, C, H, W) in [0, 1]."""
    if isinstance(image, Tensor):
        fits = image.dim() in (3, 4) and image.shape[-3] == channels and image.numel()
        if not fits or not image.is_floating_point():
            raise ValueError(
                f"The images are {image.dtype} of shape {tuple(image.shape)}; "
                f"wanted floating-point numbers (N, {channels}, H, W) or ({channels}, H, W)"
                f"{', RGB' if channels == 3 else ''} in [0, 1]."
            )
        return image.float() if image.dim() == 4 else image.float()[None]
    if not isinstance(image, np.ndarray):
        raise ValueError(
            f"The image is a {type(image).__name__}; wanted an array of NumPy or a tensor of torch."
        )
    if channels != (1 if image.ndim == 2 else 3) and channels != 3:
        raise ValueError(
            f"The image has shape {image.shape}, and the network restores images of {channels} "
            "channels."
        )
    integers = image.dtype.newbyteorder("=") in (np.uint8, np.uint16)
    fits = image.size and image.ndim in (2, 3) and image.shape[2:] in ((), (3,))
    if not fits or not (integers or np.issubdtype(image.dtype, np.floating)):
        raise ValueError(
            f"The image is {image.dtype} of shape {image.shape}; wanted (H, W, 3), RGB, or (H, W), "
            "gray: uint8, uint16, or floating-point numbers in [0, 1]."
        )
    scaled = to_float(image) if integers else image.astype(np.float32)
    pixels = torch.from_numpy(np.ascontiguousarray(scaled))
    return pixels.expand(1, channels, -1, -1) if image.ndim == 2 else pixels.permute(2, 0, 1)[None]


def _like(image: AnyImage, restored: Tensor) -> AnyImage:
    """Restored images (N, 3, H, W) in the form of the image they were made of."""
    if isinstance(image, Tensor):
        return restored if image.dim() == 4 else restored[0]
    array = restored[0].mean(dim=0) if image.ndim == 2 else restored[0].permute(1, 2, 0)
    numbers = array.cpu().numpy()
    integers = np.issubdtype(image.dtype, np.integer)
    return quantized(numbers, image.dtype) if integers else numbers.astype(image.dtype)


def _restore_view(
    network: nn.Module,
    lq: Tensor,
    tile: int | None,
    overlap: int,
    device: torch.device,
    advance: Callable[[], None],
) -> Tensor:
    if tile is None:
        restored = _of_one_size(network(lq.to(device)), lq).float().to(lq.device)
        advance()
        return restored
    if isinstance(network, RestorationNetwork):
        image = network.padded(lq)
    else:
        image = pad_to_multiple(lq, multiple_of(network))
    codes = codes_of(network.encoder, image, tile) if isinstance(network, GuidedNetwork) else None
    channels = int(getattr(network, "out_channels", 3))
    restored = torch.zeros(len(image), channels, *image.shape[2:], device=lq.device)
    for row, column in _grid(network, lq, tile, overlap):
        part = image[..., row.pixels, column.pixels].to(device)
        part = _of_one_size(network(part) if codes is None else network(part, codes=codes), part)
        part = part.to(lq.device, torch.float32) * row.weights.to(lq.device)[:, None]
        restored[..., row.pixels, column.pixels] += part * column.weights.to(lq.device)
        advance()
    return restored[..., : lq.shape[2], : lq.shape[3]]


def _of_one_size(restored: Tensor, lq: Tensor) -> Tensor:
    """What a network made of images, which must be of their size."""
    if restored.shape[2:] != lq.shape[2:]:
        raise ValueError(
            f"The network turns images {tuple(lq.shape)} into {tuple(restored.shape)}; restoration "
            "keeps the size. Networks for super-resolution are restored with at scale 1 alone."
        )
    return restored


def _grid(network: nn.Module, lq: Tensor, tile: int, overlap: int) -> list[tuple[Tile, Tile]]:
    """The tiles of images, row by row."""
    multiple = multiple_of(network)
    rows, columns = (
        tiles_of(-(-length // multiple) * multiple, tile, overlap, multiple)
        for length in lq.shape[2:]
    )
    return list(product(rows, columns))


def codes_of(encoder: ConStyle, image: Tensor, cell: int) -> Codes:
    """ConStyle's codes of whole images (N, 3, H, W), in cells of about `cell` pixels a side.

    They are those of `encoder(image)`: a code is a mean over the image, and each cell is read with
    all that the encoder's convolutions see of its surroundings.
    """
    stride, device = ConStyle.STRIDE, next(encoder.parameters()).device
    cell = -(-cell // stride) * stride
    total, number = torch.zeros(1, 1, device=device), 0
    for rows, own_rows in cells_of(image.shape[2], cell, ConStyle.REACH):
        for columns, own_columns in cells_of(image.shape[3], cell, ConStyle.REACH):
            deepest = encoder.features(image[..., rows, columns].to(device))[-1]
            own = deepest[..., _strided(own_rows, stride), _strided(own_columns, stride)]
            total = total + own.sum(dim=(2, 3), dtype=torch.float32)
            number += own.shape[2] * own.shape[3]
    return encoder.codes(total / number)


def _strided(pixels: slice, stride: int) -> slice:
    return slice(pixels.start // stride, -(-pixels.stop // stride))
