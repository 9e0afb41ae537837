"""Check an option file as train and test do, create nothing, and describe the run: images,
iterations, parameters, computations, memory, and on a CPU time. All problems are listed, with exit
code 2. Likely mistakes are listed too: more memory than is free, a schedule or a constyle_iter
longer than the run, the same folder for both sides of pairs, validation on training images.
"""

import argparse

from constyle_arch.options.flags import add_training_arguments
from constyle_arch.options.reading import read_option_file

HELP = "check an option file"

EXAMPLES = """\
  basicsr check -opt options/dehaze_constyle_restormer.yml
  basicsr check -opt options/dehaze_constyle_restormer.yml --total-iter 20000
"""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_training_arguments(parser)


def run(parsed: argparse.Namespace) -> None:
    """Check the options and print what the run would do."""
    read_option_file(parsed.opt)  # its errors are reported before torch is imported
    from constyle_arch.training.runner import prepare_basicsr

    prepare_basicsr(parsed.plugin)
    from constyle_arch.options.checking import check_run

    check_run(parsed.arguments)
