"""`basicsr info`."""

import argparse
from typing import Any

from constyle_arch.checkpoints.trained import checkpoint_file, located, overview
from constyle_arch.commands.network_arguments import add_network_arguments, network_options_of
from constyle_arch.errors import OptionsError

INFO = """\
Describe a checkpoint, a training state, an experiment's network or an option file: architecture,
hyperparameters, parameters, computations, training iteration, keys. Without a path, list the
pretrained networks.
"""

INFO_EPILOG = """\
examples:
  basicsr info
  basicsr info denoise
  basicsr info experiments/NAME
  basicsr info published.pth --names
  basicsr info options/dehaze_constyle_restormer.yml --size 512
"""


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "info", help="describe weights or options", description=INFO, epilog=INFO_EPILOG
    )
    parser.add_argument(
        "path",
        nargs="?",
        metavar="FILE",
        help="a pretrained network, weights, options, or an experiment's folder (default: list "
        "pretrained networks)",
    )
    parser.add_argument(
        "--size",
        type=int,
        default=256,
        metavar="N",
        help="count computations for N×N pixels (default: 256)",
    )
    parser.add_argument("--names", action="store_true", help="list each tensor")
    add_network_arguments(parser)
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> None:
    """Print what is known."""
    if parsed.path is None:
        print(overview(), end="")
        return
    if parsed.size < 1:
        raise OptionsError(f"--size is {parsed.size}; it must be at least 1 pixel.")
    from constyle_arch.options.reading import read_option_file

    options, path = network_options_of(parsed), located(parsed.path)
    if path.suffix in (".yml", ".yaml"):
        read_option_file(str(path))
    else:
        checkpoint_file(path)

    from constyle_arch.reporting.describing import describe
    from constyle_arch.training.runner import prepare_basicsr

    if parsed.plugin:
        prepare_basicsr(parsed.plugin)
    print(describe(path, parsed.size, parsed.key, parsed.names, parsed.type, options), end="")
