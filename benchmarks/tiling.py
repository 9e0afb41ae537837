"""How far restoring in tiles differs from restoring whole: `python -m benchmarks.tiling WEIGHTS…
--images FOLDER`.

For each network, sizes of tiles with an overlap of 32, without local statistics and with some
windows: the PSNR of the tiled result with the whole one, and where FOLDER has a sibling `gt` with
images of the same stem, that of each with the clean image.
"""

import argparse
from functools import partial
from pathlib import Path

import cv2
import torch
from torch import Tensor, nn

import constyle_arch
from constyle_arch.archs.local_statistics import use_local_statistics
from constyle_arch.images import decode, to_float
from constyle_arch.inference.restoring import restore

TILES = (128, 256, 384)


def read(path: Path) -> Tensor:
    """An image (1, 3, H, W), RGB in [0, 1]."""
    image = cv2.cvtColor(to_float(decode(path.read_bytes(), path)), cv2.COLOR_BGR2RGB)
    return torch.from_numpy(image).permute(2, 0, 1)[None]


def psnr(one: Tensor, other: Tensor) -> float:
    """In dB, of values in [0, 1]."""
    return float(-10 * (one.clamp(0, 1) - other.clamp(0, 1)).square().mean().log10())


def clean_image(path: Path) -> Tensor | None:
    """The clean image beside a degraded one, whose stem is or begins with its own."""
    found = [
        clean for clean in (path.parent.parent / "gt").glob("*") if path.stem.startswith(clean.stem)
    ]
    return read(found[0]) if found else None


def rows(
    network: nn.Module, paths: list[Path], windows: list[int], precision: torch.dtype
) -> list[str]:
    """The table's rows for a network."""
    images = [read(path) for path in paths]
    clean = [clean_image(path) for path in paths]
    restored = partial(restore, network, precision=precision)
    lines = []
    for window in (None, *windows):
        use_local_statistics(network, window)
        whole = [restored(image) for image in images]
        for tile in (None, *TILES):
            results = whole if tile is None else [restored(one, tile=tile) for one in images]
            to_whole = [psnr(*pair) for pair in zip(results, whole, strict=True)]
            pairs = zip(results, clean, strict=True)
            to_clean = [psnr(one, gt) for one, gt in pairs if gt is not None]
            lines.append(
                f"| {type(network).__name__} | {'whole' if tile is None else tile} | "
                f"{window or 'whole image or tile'} | "
                f"{'' if tile is None else f'{sum(to_whole) / len(to_whole):.2f}'} | "
                f"{f'{sum(to_clean) / len(to_clean):.2f}' if to_clean else ''} |"
            )
            print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", nargs="+")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument(
        "--windows", type=int, nargs="*", default=[192], help="of local statistics, in pixels"
    )
    parser.add_argument("--bf16", action="store_true", help="restore in bfloat16")
    arguments = parser.parse_args()
    precision = torch.bfloat16 if arguments.bf16 else torch.float32
    paths = sorted(path for path in arguments.images.iterdir() if path.is_file())
    print(
        "| network | tile | pooling over | PSNR with the whole, dB | with the clean image, dB "
        "|\n|---|---|---|---|---|"
    )
    for weights in arguments.weights:
        rows(constyle_arch.load_network(weights), paths, arguments.windows, precision)


if __name__ == "__main__":
    main()
