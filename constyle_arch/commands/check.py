"""`basicsr check`."""

import argparse
import contextlib
from pathlib import Path
from typing import Any

from constyle_arch.errors import OptionsError
from constyle_arch.options.reading import add_run_arguments, force_options, read_option_file

CHECK = """\
Check an option file as train and test do, create nothing, and describe the run: images, iterations,
parameters, computations, memory, and on a CPU time. All problems are listed, with exit code 2.
Likely mistakes are listed too: more memory than is free, a schedule or a constyle_iter longer than
the run, the same folder for both sides of pairs, validation on training images.
"""

CHECK_EPILOG = """\
examples:
  basicsr check -opt options/dehaze_constyle_restormer.yml
  basicsr check -opt options/dehaze_constyle_restormer.yml --total-iter 20000
"""


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "check", help="check an option file", description=CHECK, epilog=CHECK_EPILOG
    )
    add_run_arguments(parser)
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> None:
    """Check the options and print what the run would do."""
    read_option_file(parsed.opt)  # its errors are reported before torch is imported
    from constyle_arch.training.runner import prepare_basicsr

    prepare_basicsr(parsed.plugin)
    from constyle_arch.options.checking import check_run

    there = _experiment_in_the_way(parsed)
    described = check_run([*parsed.arguments, *(["--archive"] if there else [])])
    if there is None:
        print(described, end="")
        return
    print(described.replace("can be run", "can be run under another name", 1), end="", flush=True)
    raise OptionsError(
        f"The experiment {there} already exists; --auto_resume resumes it, --archive moves it "
        "away and starts from "
        "scratch, or choose another name."
    )


def _experiment_in_the_way(parsed: argparse.Namespace) -> Path | None:
    """The folder that a training of these flags would refuse to touch; what else is wrong is found
    by the checks.
    """
    from constyle_arch.training.experiments import is_failed_start

    options = read_option_file(parsed.opt)
    with contextlib.redirect_stdout(None):  # the checks say which options are new
        force_options(options, parsed.force_yml or [])
    path = options.get("path")
    resumes = parsed.auto_resume or (isinstance(path, dict) and path.get("resume_state"))
    name = str(options.get("name"))
    if (
        "train" not in options
        or resumes
        or parsed.archive
        or parsed.debug
        or name.startswith("debug")
    ):
        return None
    home = Path("experiments") / name
    return home if home.is_dir() and not is_failed_start(home) else None
