"""Write a trained network as an ONNX file, for programs without PyTorch: onnxruntime, OpenVINO,
TensorRT and others. One file restores images of every height and width, in batches of every size.

  lq, restored     (batch, 3, height, width), float32, RGB in [0, 1]; restored is not clamped

Where onnxruntime is installed, the file is compared with PyTorch before it is written. It takes
about a minute, longer for larger networks. Needs the extra "onnx": pip install
"constyle-arch[onnx]"
"""

import argparse
from pathlib import Path

from constyle_arch.commands.arguments import (
    add_network_arguments,
    add_precision_arguments,
    add_tlc_argument,
    add_weights_argument,
    in_words,
    load_chosen_network,
)
from constyle_arch.options.flags import add_number

HELP = "write a network as ONNX"

EXAMPLES = """\
  basicsr export experiments/NAME net.onnx
  basicsr export published.pth net.onnx --opset 20
  basicsr export denoise denoise.onnx --tile 512 --half
"""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_weights_argument(parser, "weights")
    parser.add_argument("target", type=Path, metavar="OUT.onnx", help="the file to write")
    add_network_arguments(parser)
    add_tlc_argument(parser)
    add_number(parser, "--opset", "version of ONNX's operators, 18 to 23", default=18)
    size = "for images of N×N pixels, one at a time, instead of every size"
    add_number(parser, "--tile", size)
    add_precision_arguments(
        parser,
        half="with --tile: compute in float16, statistics in float32",
        bf16="with --tile: keep weights in bfloat16",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT.onnx if it exists")


def run(parsed: argparse.Namespace) -> None:
    """Load the network and write it."""
    network, _, source = load_chosen_network(parsed)

    import torch

    from constyle_arch.inference.onnx_export import export_onnx

    difference = export_onnx(
        network,
        parsed.target,
        opset=parsed.opset,
        tile=parsed.tile,
        precision=getattr(torch, parsed.precision),
        overwrite=parsed.overwrite,
    )
    print(
        f"Wrote {parsed.target}: {type(network).__name__} of {source}, "
        f"{parsed.target.stat().st_size / 1e6:.1f} MB, opset {parsed.opset}{in_words(network)}."
    )
    if difference is None:
        print("onnxruntime is not installed; the file was not compared with PyTorch.")
    else:
        print(f"onnxruntime and PyTorch differ by {difference:.1e} at most.")
