"""`basicsr export`."""

import argparse
from pathlib import Path
from typing import Any

from constyle_arch.commands.network_arguments import add_network_arguments, load_chosen_network

EXPORT = """\
Write a trained network as an ONNX file, for programs without PyTorch: onnxruntime, OpenVINO, TensorRT and others. One
file restores images of every height and width, in batches of every size:

  lq, restored     (batch, 3, height, width), float32, RGB in [0, 1]; restored is not clamped

Where onnxruntime is installed, the file is compared with PyTorch before it is written. It takes about a minute, longer
for larger networks. Needs the extra "onnx": pip install "constyle-arch[onnx]"
"""

EXPORT_EPILOG = """\
examples:
  basicsr export experiments/NAME net.onnx
  basicsr export published.pth net.onnx --opset 20
"""


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("export", help="write a network as ONNX", description=EXPORT, epilog=EXPORT_EPILOG)
    parser.add_argument(
        "weights",
        metavar="WEIGHTS",
        help="a network that comes trained, a .pth or .safetensors file, or an experiment's folder "
        "(its best network, or else its last)",
    )
    parser.add_argument("target", type=Path, metavar="OUT.onnx", help="the file to write")
    add_network_arguments(parser)
    parser.add_argument(
        "--opset", type=int, default=18, metavar="N", help="version of ONNX's operators, 18 to 23 (default: 18)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT.onnx if it exists")
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Load the network and write it."""
    from constyle_arch.inference.onnx_export import export_onnx

    network, _, source = load_chosen_network(parsed)
    exported = export_onnx(network, parsed.target, opset=parsed.opset, overwrite=parsed.overwrite)
    print(
        f"Wrote {parsed.target}: {type(network).__name__} of {source}, {exported.size / 1e6:.1f} MB, "
        f"opset {parsed.opset}."
    )
    if exported.difference is None:
        print("onnxruntime is not installed; the file was not compared with PyTorch.")
    else:
        print(f"onnxruntime and PyTorch differ by {exported.difference:.1e} at most.")
    return 0
