"""Seconds a megapixel and memory of restoring a photograph in tiles: `python -m
benchmarks.photograph [NETWORK…]`.

Every network restores a strip of noise in a process of its own, in each precision. A folder of
photographs then shows what share of the cores `basicsr restore` keeps busy.
"""

import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.measuring import (
    machine,
    own_process,
    parser_for,
    prepare_process,
    resident_peak,
    write_part,
)
from constyle_arch import archs, load_network
from constyle_arch.allocator import keep_freed_memory
from constyle_arch.data.workers import available_cores
from constyle_arch.inference.photographs.finding import find_jobs
from constyle_arch.inference.photographs.pipeline import Pipeline
from constyle_arch.inference.photographs.restorer import Restorer
from constyle_arch.inference.restoring import restore

NETWORKS = ("ConStyleRestormer", "ConStyleNAFNet", "ConStyleMaxim", "Restormer", "NAFNet", "Maxim")
PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16}
WIDTH, HEIGHT = 480, 320
"""Of the folder's photographs."""


def measure(network: str, precision: str, tile: int, height: int, width: int) -> str:
    """A row of the table."""
    torch.manual_seed(0)
    photograph = torch.rand(1, 3, height, width)
    start = time.perf_counter()
    restore(getattr(archs, network)(), photograph, tile=tile, precision=PRECISIONS[precision])
    seconds = time.perf_counter() - start
    return (
        f"| {network} | {precision} | {seconds / (height * width / 1e6):.1f} | "
        f"{resident_peak():.2f} |"
    )


def folder(count: int, weights: str) -> str:
    """What a folder of so many photographs takes, in words."""
    keep_freed_memory()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "photographs").mkdir()
        for number in range(count):
            pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
            cv2.imwrite(str(Path(home) / "photographs" / f"{number}.png"), pixels)
        jobs = find_jobs([str(Path(home) / "photographs")], str(Path(home) / "restored"))
        restorer = Restorer(load_network(weights), progress=False, say=lambda _: None)
        start, processor = time.perf_counter(), time.process_time()
        summary = Pipeline(restorer).run(jobs)
        seconds, processor = time.perf_counter() - start, time.process_time() - processor
    assert summary.restored == count
    return (
        f"{count} photographs of {WIDTH}×{HEIGHT} pixels, noise, as PNG, restored by `{weights}`: "
        f"{seconds:.0f} s, {processor / seconds / available_cores():.0%} of {available_cores()} "
        "cores busy."
    )


def main() -> None:
    """Measure one network after the other, and replace this benchmark's part of RESULTS.md."""
    parser = parser_for(__doc__)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--tile", type=int, default=256)
    parser.add_argument(
        "--size", nargs=2, type=int, default=[256, 1376], metavar=("HEIGHT", "WIDTH")
    )
    parser.add_argument("--photographs", type=int, default=20, help="in the folder")
    parser.add_argument("--weights", default="denoise", help="that restore the folder")
    arguments = parser.parse_args()
    height, width = arguments.size
    lines = [
        f"{machine()}; networks of full size, {width}×{height} pixels in tiles of {arguments.tile} "
        "that overlap by 32. GiB: the largest memory of the process, the program included.",
        "",
        "| network | precision | s a megapixel | GiB |",
        "|---|---|---:|---:|",
    ]
    for network in arguments.networks:
        for precision in arguments.precisions:
            sizes = arguments.tile, height, width
            with own_process(prepare_process, True) as process:
                lines.append(process.submit(measure, network, precision, *sizes).result())
            print(lines[-1], flush=True)
    lines += ["", folder(arguments.photographs, arguments.weights)]
    write_part(arguments.results, "photograph", lines)


if __name__ == "__main__":
    main()
