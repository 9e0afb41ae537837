"""`basicsr export`."""

import argparse
from pathlib import Path
from typing import Any

from constyle_arch.commands.network_arguments import (
    add_network_arguments,
    add_tlc_argument,
    in_words,
    load_chosen_network,
)

EXPORT = """\
Write a trained network as an ONNX file, for programs without PyTorch: onnxruntime, OpenVINO,
TensorRT and others. One file restores images of every height and width, in batches of every size:

  lq, restored     (batch, 3, height, width), float32, RGB in [0, 1]; restored is not clamped

Where onnxruntime is installed, the file is compared with PyTorch before it is written. It takes
about a minute, longer for larger networks. Needs the extra "onnx": pip install
"constyle-arch[onnx]"
"""

EXPORT_EPILOG = """\
examples:
  basicsr export experiments/NAME net.onnx
  basicsr export published.pth net.onnx --opset 20
  basicsr export denoise denoise.onnx --tile 512 --half
"""


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "export", help="write a network as ONNX", description=EXPORT, epilog=EXPORT_EPILOG
    )
    parser.add_argument(
        "weights",
        metavar="WEIGHTS",
        help="a pretrained network, a .pth or .safetensors file, or an experiment's folder "
        "(its best network, or else its last)",
    )
    parser.add_argument("target", type=Path, metavar="OUT.onnx", help="the file to write")
    add_network_arguments(parser)
    add_tlc_argument(parser)
    parser.add_argument(
        "--opset",
        type=int,
        default=18,
        metavar="N",
        help="version of ONNX's operators, 18 to 23 (default: 18)",
    )
    parser.add_argument(
        "--tile",
        type=int,
        metavar="N",
        help="for images of N×N pixels, one at a time, instead of every size",
    )
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument(
        "--half", action="store_true", help="with --tile: compute in float16, statistics in float32"
    )
    precision.add_argument(
        "--bf16", action="store_true", help="with --tile: keep weights in bfloat16"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT.onnx if it exists")
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Load the network and write it."""
    network, _, source = load_chosen_network(parsed)

    import torch

    from constyle_arch.inference.onnx_export import export_onnx

    precision = torch.float16 if parsed.half else torch.bfloat16 if parsed.bf16 else torch.float32
    exported = export_onnx(
        network,
        parsed.target,
        opset=parsed.opset,
        tile=parsed.tile,
        precision=precision,
        overwrite=parsed.overwrite,
    )
    print(
        f"Wrote {parsed.target}: {type(network).__name__} of {source}, {exported.size / 1e6:.1f} "
        "MB, "
        f"opset {parsed.opset}{in_words(network)}."
    )
    if exported.difference is None:
        print("onnxruntime is not installed; the file was not compared with PyTorch.")
    else:
        print(f"onnxruntime and PyTorch differ by {exported.difference:.1e} at most.")
    return 0
