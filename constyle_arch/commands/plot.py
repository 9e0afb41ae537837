"""Draw training runs from their logs into one picture: scores of validations with the best one
marked, losses, the health of ConStyle's contrast (docs/training.md says how to read it) and the
learning rate. Each run has a colour.

Unfinished runs and logs of BasicSR itself can be drawn, too.
"""

import argparse
from pathlib import Path

HELP = "draw training runs"

EXAMPLES = """\
  basicsr plot experiments/dehaze_constyle_nafnet
  basicsr plot experiments/dehaze_nafnet experiments/dehaze_constyle_nafnet -o both.svg
"""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    run = "a folder below experiments/, or a log file"
    parser.add_argument("experiments", nargs="+", type=Path, metavar="EXPERIMENT", help=run)
    file = "the .png or .svg file to write, replaced if it exists"
    default = "(default: NAME.png, for several training_curves.png)"
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help=f"{file} {default}")


def run(parsed: argparse.Namespace) -> None:
    """Read the logs, draw them and write the picture."""
    from constyle_arch.reporting.figure_files import (
        check_format,
        distinct_names,
        require_matplotlib,
    )
    from constyle_arch.reporting.training_log import read_training_log

    paths = {path.expanduser().resolve(): path.expanduser() for path in parsed.experiments}
    runs = [path.with_suffix("") if path.is_file() else path for path in paths]
    name = "training_curves" if len(runs) > 1 else runs[0].name
    output = parsed.output.expanduser() if parsed.output else Path(f"{name}.png")
    check_format(output)
    logs = [read_training_log(path) for path in paths.values()]

    require_matplotlib()  # slow to import
    from constyle_arch.reporting.figures import save_figure
    from constyle_arch.reporting.training_curves import draw

    save_figure(draw(dict(zip(distinct_names(runs), logs, strict=True))), output)
    print(f"Wrote {output}.")
