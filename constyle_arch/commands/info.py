"""Describe a checkpoint, a training state, an experiment's network or an option file: architecture,
hyperparameters, parameters, training iteration, keys. Without a path, list the pretrained networks.
"""

import argparse

from constyle_arch.checkpoints.trained import checkpoint_file, located, overview
from constyle_arch.commands.arguments import add_network_arguments, network_options_of
from constyle_arch.options.flags import add_number
from constyle_arch.options.reading import read_option_file

HELP = "describe weights or options"

EXAMPLES = """\
  basicsr info
  basicsr info denoise
  basicsr info experiments/NAME
  basicsr info published.pth --names
  basicsr info options/dehaze_constyle_restormer.yml --size 256
"""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    what = "a pretrained network, weights, options, or an experiment's folder"
    default = "(default: list pretrained networks)"
    parser.add_argument("path", nargs="?", metavar="FILE", help=f"{what} {default}")
    add_number(parser, "--size", "also count computations, for N×N pixels", least=1)
    parser.add_argument("--names", action="store_true", help="list each tensor")
    add_network_arguments(parser)


def run(parsed: argparse.Namespace) -> None:
    """Print what is known."""
    if parsed.path is None:
        print(overview(), end="")
        return
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
