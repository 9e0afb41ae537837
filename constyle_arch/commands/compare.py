"""`basicsr compare`."""

import argparse
from pathlib import Path
from typing import Any

COMPARE = """\
Put the results of several tests side by side: a table for each metric, with the differences from the first test.
"""

COMPARE_EPILOG = """\
example:
  basicsr compare results/dehaze_nafnet results/dehaze_constyle_nafnet
"""


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("compare", help="put tests side by side", description=COMPARE, epilog=COMPARE_EPILOG)
    parser.add_argument("results", nargs="+", metavar="RESULT", help="a folder below results/")
    parser.add_argument("-o", "--output", metavar="FILE.md", help="write the tables there too")
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> None:
    """Print the tables, and write them where asked to."""
    from constyle_arch.files import save_bytes_atomically
    from constyle_arch.reporting.compare import check_tables, compare

    output = Path(parsed.output).expanduser() if parsed.output else None
    if output:
        check_tables(output)
    tables = compare(parsed.results)
    print(tables, end="")
    if output:
        save_bytes_atomically(tables.encode(), output)
