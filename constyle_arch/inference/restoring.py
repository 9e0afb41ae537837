"""Restoring an image, whole or in tiles (arXiv 2402.15784, section 3: at inference the encoder and the network run)."""

import torch
from torch import Tensor, nn
from tqdm import tqdm

from constyle_arch.archs.constyle_arch import Codes, ConStyle
from constyle_arch.archs.general_restoration_arch import GuidedNetwork
from constyle_arch.archs.layers import pad_to_multiple
from constyle_arch.inference.tiles import cells_of, tiles_of

OVERLAP = 32
"""Pixels that neighbouring tiles share."""


@torch.inference_mode()
def restore(
    network: nn.Module,
    lq: Tensor,
    *,
    tile: int | None = None,
    overlap: int = OVERLAP,
    precision: torch.dtype = torch.float32,
    progress: bool = False,
) -> Tensor:
    """Restore images of any size, in tiles where memory is to be bounded.

    A tile is restored with ConStyle's code of the whole image. What else a network takes from the whole image,
    attention between channels, pooling and MAXIM's grid, it then takes from the tile; docs/performance.md has by how
    much the results differ. Tiles overlap, and are blended linearly where they do.

    Args:
        network: an architecture of this package, or any network that maps an image to one of its size; it is put
            into evaluation mode.
        lq: (N, 3, H, W), RGB in [0, 1], on any device. With tiles, only one of them at a time goes to the network's.
        tile: side of the tiles, in pixels; None restores the whole image at once.
        overlap: pixels that neighbouring tiles share, at least.
        precision: in which convolutions and matrix products compute: float32, bfloat16 or float16.
        progress: show a progress bar.

    Returns:
        The restored images (N, 3, H, W), float32, not clamped, where `lq` is.

    Raises:
        ValueError: `lq` is no batch of images, `tile` is not positive, or `overlap` does not fit it.
    """
    if lq.dim() != 4:
        raise ValueError(f"The images have shape {tuple(lq.shape)}; wanted (N, 3, H, W), RGB in [0, 1].")
    if tile is not None and tile < 1:
        raise ValueError(f"tile is {tile}; it must be at least 1 pixel.")
    device = next(network.parameters()).device
    network.eval()
    with torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32):
        if tile is None:
            return network(lq.to(device)).float().to(lq.device)
        return _restore_tiles(network, lq, tile, overlap, device, progress)


def _restore_tiles(
    network: nn.Module, lq: Tensor, tile: int, overlap: int, device: torch.device, progress: bool
) -> Tensor:
    multiple = int(getattr(network, "multiple", 1))
    image = pad_to_multiple(lq, multiple)
    rows, columns = (tiles_of(length, tile, overlap, multiple) for length in image.shape[2:])
    codes = codes_of(network.encoder, image, tile) if isinstance(network, GuidedNetwork) else None
    restored = torch.zeros_like(image, dtype=torch.float32)
    with tqdm(total=len(rows) * len(columns), unit="tile", disable=not progress) as bar:
        for row in rows:
            for column in columns:
                part = image[..., row.pixels, column.pixels].to(device)
                part = network(part) if codes is None else network(part, codes=codes)
                part = part.to(lq.device, torch.float32) * row.weights.to(lq.device)[:, None]
                restored[..., row.pixels, column.pixels] += part * column.weights.to(lq.device)
                bar.update()
    return restored[..., : lq.shape[2], : lq.shape[3]]


def codes_of(encoder: ConStyle, image: Tensor, cell: int) -> Codes:
    """ConStyle's codes of whole images (N, 3, H, W), computed cell by cell of about `cell` pixels a side.

    They are those of `encoder(image)`: a code is a mean over the image, and each cell is read with all that the
    encoder's convolutions see of its surroundings.
    """
    stride, device = ConStyle.STRIDE, next(encoder.parameters()).device
    cell = -(-cell // stride) * stride
    total: Tensor | float = 0.0
    number = 0
    for rows, own_rows in cells_of(image.shape[2], cell, ConStyle.REACH):
        for columns, own_columns in cells_of(image.shape[3], cell, ConStyle.REACH):
            deepest = encoder.features(image[..., rows, columns].to(device))[-1]
            own = deepest[..., _strided(own_rows, stride), _strided(own_columns, stride)]
            total = total + own.sum(dim=(2, 3), dtype=torch.float32)
            number += own.shape[2] * own.shape[3]
    assert isinstance(total, Tensor)
    return encoder.codes(total / number)


def _strided(pixels: slice, stride: int) -> slice:
    return slice(pixels.start // stride, -(-pixels.stop // stride))
