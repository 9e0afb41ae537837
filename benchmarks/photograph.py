"""How long a 24-megapixel photograph takes and how much memory: `python -m benchmarks.photograph [NETWORK…]`.

Every network restores it in tiles, in a process of its own, whose largest memory is the operating system's number.
"""

import argparse
import resource
import subprocess
import sys
import time

import torch

from constyle_arch import archs
from constyle_arch.allocator import keep_freed_memory
from constyle_arch.inference import restore

NETWORKS = ("ConStyleRestormer", "ConStyleNAFNet", "ConStyleMaxim", "Restormer", "NAFNet", "Maxim")
WIDTH, HEIGHT = 6000, 4000
PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16}


def measure(network: str, precision: str, tile: int, share: float) -> str:
    """A row of the table; of a `share` of the photograph's rows where time is short."""
    keep_freed_memory()
    torch.manual_seed(0)
    photograph = torch.rand(1, 3, int(HEIGHT * share), WIDTH)
    start = time.perf_counter()
    restored = restore(getattr(archs, network)(), photograph, tile=tile, precision=PRECISIONS[precision])
    seconds = time.perf_counter() - start
    assert restored.shape == photograph.shape
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 2**30
    megapixels = restored.shape[2] * restored.shape[3] / 1e6
    return f"| {network} | {precision} | {tile} | {megapixels:.0f} | {seconds:.0f} | {gigabytes:.2f} |"


def main() -> None:
    """Measure one network after the other and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--precision", choices=PRECISIONS, default="bf16")
    parser.add_argument("--tile", type=int, default=256)
    parser.add_argument("--share", type=float, default=1.0, help="restore this share of the photograph's rows")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        print(measure(arguments.networks[0], arguments.precision, arguments.tile, arguments.share))
        return
    print("| network | precision | tile | megapixels | seconds | GiB |\n|---|---|---|---|---|---|", flush=True)
    for network in arguments.networks:
        options = ["--precision", arguments.precision, "--tile", str(arguments.tile), "--share", str(arguments.share)]
        subprocess.run([sys.executable, "-m", "benchmarks.photograph", network, *options, "--here"], check=True)


if __name__ == "__main__":
    main()
