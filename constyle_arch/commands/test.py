"""`basicsr test`."""

import argparse
from typing import Any

from constyle_arch.options.reading import add_run_arguments

TEST = """\
Restore and score the data sets of the option file with the network that its path.pretrain_network_g names.

Writes, below the working directory:
  results/NAME/                   log; results.md, .json and .csv: the table, and every image's scores
  results/NAME/visualization/     restored images, with val.save_comparison next to input and clean image
"""

TEST_EPILOG = """\
example:
  basicsr test -opt options/test/demo_dehaze_constyle_restormer.yml
"""


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("test", help="restore and score test sets", description=TEST, epilog=TEST_EPILOG)
    add_run_arguments(parser, trains=False)
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> None:
    """Run BasicSR's test pipeline."""
    from constyle_arch.training.runner import run_pipeline

    run_pipeline("test", parsed.arguments, parsed.plugin)
