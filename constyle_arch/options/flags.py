"""The flags of a run, which are BasicSR's and some more."""

import argparse
import math

from constyle_arch.errors import OptionsError


def add_number(
    parser: argparse._ActionsContainer,
    flag: str,
    text: str,
    *,
    kind: type[int] | type[float] = int,
    default: float | None = None,
    least: float = -math.inf,
    most: float = math.inf,
    above: float = -math.inf,
) -> None:
    """Add a flag for a number from `least`, or larger than `above`, to `most`.

    The default is appended to its help, `text`. Another number is an `OptionsError`.
    """

    def within(text: str) -> float:
        value = kind(text)
        if not (least <= value <= most and value > above):
            wanted = f"be at least {least:g}" if above == -math.inf else f"be above {above:g}"
            if most < math.inf:
                low = f"[{least:g}" if above == -math.inf else f"({above:g}"
                wanted = f"lie in {low}, {most:g}]"
            raise OptionsError(f"{flag} is {value:g}; it must {wanted}.")
        return value

    within.__name__ = kind.__name__  # by which argparse names what is no number
    ending = "" if default is None else f" (default: {default:g})"
    parser.add_argument(flag, type=within, default=default, metavar="N", help=text + ending)


def add_plugin_argument(parser: argparse.ArgumentParser) -> None:
    """Add the flag for code of the user's."""
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="FILE.py",
        help="run this Python file first; it may register architectures, data sets, losses or "
        "models of your own",
    )


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a training."""
    parser.add_argument("-opt", required=True, metavar="FILE", help="the option file (YAML)")
    add_number(
        parser,
        "--total-iter",
        "train N iterations: total_iter, the schedule's periods and constyle_iter scale in "
        "proportion",
        least=1,
    )
    add_run_arguments(parser)
    add_plugin_argument(parser)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of every run, which are BasicSR's."""
    parser.add_argument(
        "--auto_resume", action="store_true", help="resume from the newest state of this experiment"
    )
    parser.add_argument(
        "--archive",
        action="store_true",
        help="move an experiment of this name to NAME_archived_TIME and start from scratch",
    )
    parser.add_argument(
        "--debug", action="store_true", help="validate, log and save every few iterations"
    )
    parser.add_argument(
        "--force_yml",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY:KEY=VALUE",
        help="replace options of the file, e.g. train:total_iter=1000 datasets:train:gt_size=64",
    )
    parser.add_argument(
        "--launcher",
        choices=["none", "pytorch", "slurm"],
        default="none",
        help="how the processes were started; torchrun is detected (default: none)",
    )
    # older launchers pass it
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)
