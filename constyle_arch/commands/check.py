"""`basicsr check`."""

import argparse
from typing import Any

from constyle_arch.options.reading import add_run_arguments

CHECK = """\
Check an option file as training or testing with it would, create nothing, and say what the run would do: images,
iterations, parameters, computations, memory, and on a CPU time. Every problem found is listed, with exit code 2.
What can be run but is hardly meant is listed, too: more memory than is free, a schedule or a constyle_iter longer than
the run, one place for both sides of pairs, validation on what is trained on.
"""

CHECK_EPILOG = """\
examples:
  basicsr check -opt options/dehaze_constyle_restormer.yml
  basicsr check -opt options/dehaze_constyle_restormer.yml --total-iter 20000
"""


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("check", help="check an option file", description=CHECK, epilog=CHECK_EPILOG)
    add_run_arguments(parser)
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> None:
    """Check the options and print what the run would do."""
    from constyle_arch.training.runner import prepare_basicsr

    prepare_basicsr(parsed.plugin)
    from constyle_arch.options.checking import check_run

    print(check_run(parsed.arguments), end="")
