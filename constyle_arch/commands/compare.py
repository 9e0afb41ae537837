"""Put the results of several tests side by side: a table for each metric, with the differences from
the first test.

With --pictures also write the restored images side by side, between input and ground truth, and a
magnified crop of each, where the first and the last test differ most. The tests need val.save_img:
true.
"""

import argparse
from pathlib import Path

HELP = "put tests side by side"

EXAMPLES = """\
  basicsr compare results/dehaze_nafnet results/dehaze_constyle_nafnet
  basicsr compare results/dehaze_nafnet results/dehaze_constyle_nafnet --pictures side_by_side
"""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("results", nargs="+", metavar="RESULT", help="a folder below results/")
    file = "also write the tables to this file"
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.md", help=file)
    written = "write DIR/BENCHMARK/IMAGE.jpg for each image; existing files are replaced"
    parser.add_argument("--pictures", type=Path, metavar="DIR", help=written)


def run(parsed: argparse.Namespace) -> None:
    """Print the tables, and write them and the pictures where asked to."""
    from constyle_arch.files import save_bytes_atomically
    from constyle_arch.reporting.compare import check_tables, compare, pictures
    from constyle_arch.reporting.pictures import encoded

    output = parsed.output.expanduser() if parsed.output else None
    if output:
        check_tables(output)
    tables = compare(parsed.results)
    print(tables, end="")
    if output:
        save_bytes_atomically(tables.encode(), output)
    if parsed.pictures:
        folder, written = parsed.pictures.expanduser(), 0
        for name, picture in pictures(parsed.results):
            file = folder / f"{name}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            save_bytes_atomically(encoded(picture, ".jpg"), file)
            written += 1
        print(f"Wrote {written} pictures to {folder}.")
