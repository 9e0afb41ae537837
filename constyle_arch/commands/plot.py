"""`basicsr plot`."""

import argparse
from pathlib import Path
from typing import Any

PLOT = """\
Draw training runs from their logs into one picture: scores of validations with the best one marked,
losses, the health of ConStyle's contrast (docs/training.md says how to read it) and the learning
rate. Each run has a colour.

Unfinished runs and logs of BasicSR itself can be drawn, too.
"""

PLOT_EPILOG = """\
examples:
  basicsr plot experiments/dehaze_constyle_nafnet
  basicsr plot experiments/dehaze_nafnet experiments/dehaze_constyle_nafnet -o both.svg
"""

SEVERAL = "training_curves"


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "plot", help="draw training runs", description=PLOT, epilog=PLOT_EPILOG
    )
    parser.add_argument(
        "experiments",
        nargs="+",
        type=Path,
        metavar="EXPERIMENT",
        help="a folder below experiments/, or a log file",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="the .png or .svg file to write, replaced if it exists (default: NAME.png, for "
        f"several {SEVERAL}.png)",
    )
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Read the logs, draw them and write the picture."""
    from constyle_arch.reporting import require_matplotlib
    from constyle_arch.reporting.figure_files import check_format
    from constyle_arch.reporting.naming import distinct_names
    from constyle_arch.reporting.training_log import read_training_log

    paths = list(
        {path.expanduser().resolve(): path.expanduser() for path in parsed.experiments}.values()
    )
    output = (
        parsed.output.expanduser()
        if parsed.output
        else Path(f"{SEVERAL if len(paths) > 1 else _name(paths[0])}.png")
    )
    check_format(output)
    logs = [read_training_log(path) for path in paths]
    names = distinct_names([path.with_name(_name(path)) for path in paths])

    require_matplotlib()  # slow to import
    from constyle_arch.reporting.figures import save_figure
    from constyle_arch.reporting.training_curves import draw

    save_figure(draw(dict(zip(names, logs, strict=True))), output)
    print(f"Wrote {output}.")
    return 0


def _name(path: Path) -> str:
    path = path.resolve()
    return path.stem if path.is_file() else path.name
