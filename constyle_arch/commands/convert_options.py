"""Convert an option file of the authors' programs (IRConStyle's, Restormer's, NAFNet's) to one of
this package. Comments name the original options; those without an equivalent are listed, with the
reason. "By analogy" marks options whose meaning is inferred from their names. BasicSR's own files
need no conversion.
"""

import argparse
from pathlib import Path

from constyle_arch.commands.arguments import check_option_target

HELP = "translate the authors' option files"

EXAMPLES = """\
  basicsr convert-options Derain_ConStyle.yml my.yml
  basicsr check -opt my.yml
"""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("source", metavar="IN", help="the option file (YAML)")
    parser.add_argument("target", metavar="OUT", type=Path, help="the file to write, .yml")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")


def run(parsed: argparse.Namespace) -> None:
    """Translate the file, and list what was translated and what was left out."""
    check_option_target(parsed.target, parsed.overwrite)

    from constyle_arch.options.reading import read_option_file

    options = read_option_file(parsed.source)
    from constyle_arch.files import save_bytes_atomically
    from constyle_arch.options.authors import convert
    from constyle_arch.training.runner import prepare_basicsr

    prepare_basicsr()
    made = convert(options)
    header = (
        f"{Path(parsed.source).name}, written by `basicsr convert-options` as an option file of "
        "this package."
    )
    text = made.text(header, "Comments name what an option is there.")
    save_bytes_atomically(text.encode(), parsed.target)
    print(f"Wrote {parsed.target}.")
    translated = (
        f"{'.'.join(map(str, path))}, from {there}" for path, there in made.comments.items()
    )
    print("Translated:", *translated, sep="\n  ")
    if made.left_out:
        print("Left out:", *(f"{key}: {why}" for key, why in made.left_out.items()), sep="\n  ")
    print(f"Next:\n  basicsr check -opt {parsed.target}")
