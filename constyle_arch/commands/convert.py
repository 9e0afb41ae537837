"""Convert weights between this project's tensor names and published ones (IRConStyle's,
Restormer's, NAFNet's, MAXIM's) and between .pth and .safetensors. Nothing is lost: what only
training needs is kept in the file and restored on the way back.
"""

import argparse

from constyle_arch.commands.arguments import window_asked_for
from constyle_arch.errors import OptionsError

HELP = "rename or reformat weights"

EXAMPLES = """\
  basicsr convert maxim.npz maxim.safetensors
  basicsr convert published.pth mine.pth
  basicsr convert experiments/NAME/models/net_g_latest.pth net.safetensors --key params_ema
  basicsr convert mine.pth published.pth --names published
"""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("source", metavar="IN", help="a .pth, .safetensors or MAXIM's .npz file")
    parser.add_argument(
        "target", metavar="OUT", help="the file to write; its suffix decides the format"
    )
    names = "names of the tensors in OUT (default: own)"
    parser.add_argument("--names", choices=["own", "published"], default="own", help=names)
    parser.add_argument("--key", help="convert only this section of IN, e.g. params_ema")
    window = "note in a .safetensors the window, in pixels, that `restore --tlc` is to use; off"
    parser.add_argument("--tlc", metavar="WINDOW", help=window)
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")


def run(parsed: argparse.Namespace) -> None:
    """Convert the file."""
    from constyle_arch.checkpoints.trained import checkpoint_file

    checkpoint_file(parsed.source)

    from constyle_arch.checkpoints.conversion import convert

    tlc = window_asked_for(parsed)
    if tlc == "auto":
        raise OptionsError("--tlc is auto; a file notes a number of pixels.")
    convert(
        parsed.source,
        parsed.target,
        names=parsed.names,
        key=parsed.key,
        tlc=tlc,
        overwrite=parsed.overwrite,
    )
    print(f"Wrote {parsed.target}.")
