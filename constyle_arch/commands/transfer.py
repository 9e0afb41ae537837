"""`basicsr transfer`."""

import argparse
from pathlib import Path
from typing import Any

from constyle_arch.commands.network_arguments import (
    add_network_arguments,
    add_tlc_argument,
    load_chosen_network,
)
from constyle_arch.errors import DataError

TRANSFER = """\
Apply the degradation of one photograph to a clean one, as in figure 1 of the paper.

A network restores the degraded photograph; what it removes is the degradation. Its change of
contrast and colour is applied to the clean photograph, and a new texture with the spectrum and the
values of the rest is added.
"""

TRANSFER_EPILOG = """\
examples:
  basicsr transfer --content clean.png --style rainy.jpg --weights derain -o out.png
  basicsr transfer --content clean.png --style hazy.jpg --weights experiments/NAME -o out.png
"""


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "transfer",
        help="give a clean photograph another's degradation",
        description=TRANSFER,
        epilog=TRANSFER_EPILOG,
    )
    parser.add_argument(
        "--content", required=True, type=Path, metavar="CLEAN", help="the clean photograph"
    )
    parser.add_argument(
        "--style", required=True, type=Path, metavar="DEGRADED", help="the degraded photograph"
    )
    parser.add_argument(
        "--weights",
        required=True,
        metavar="W",
        help="a network that restores the degraded photograph: a pretrained one, a "
        "checkpoint, or an "
        "experiment's folder",
    )
    add_network_arguments(parser)
    add_tlc_argument(parser)
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="decides the texture (default: 0)"
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        type=Path,
        metavar="FILE",
        help="the file to write, replaced if it exists",
    )
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> None:
    """Restore the degraded photograph, transfer what was taken away, and write the result."""
    from numpy.random import RandomState

    from constyle_arch.inference.photographs.photograph import (
        FORMATS,
        read_photograph,
        write_photograph,
    )
    from constyle_arch.inference.photographs.restorer import Restorer
    from constyle_arch.inference.transfer import transferred

    if parsed.output.suffix.lower() not in FORMATS:
        raise DataError(
            f"-o {parsed.output} is no image by its name; end it in {', '.join(FORMATS)}."
        )
    content, degraded = (
        read_photograph(path.expanduser()) for path in (parsed.content, parsed.style)
    )
    network, _, source = load_chosen_network(parsed)
    restored = Restorer(network).restored(degraded)
    result = transferred(content.colors, degraded.colors, restored.colors, RandomState(parsed.seed))
    write_photograph(content.with_colors(result), parsed.output.expanduser())
    print(
        f"Wrote {parsed.output}: {parsed.content} with what {source} takes away from "
        f"{parsed.style}."
    )
