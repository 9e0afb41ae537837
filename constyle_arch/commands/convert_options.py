"""`basicsr convert-options`."""

import argparse
from pathlib import Path
from typing import Any

from constyle_arch.errors import OptionsError

CONVERT_OPTIONS = """\
Convert an option file of the authors' programs (IRConStyle's, Restormer's, NAFNet's) to one of this
package. Comments name the original options; those without an equivalent are listed, with the
reason. "By analogy" marks options whose meaning is inferred from their names. BasicSR's own files
need no conversion.
"""

CONVERT_OPTIONS_EPILOG = """\
examples:
  basicsr convert-options Derain_ConStyle.yml my.yml
  basicsr check -opt my.yml
"""


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "convert-options",
        help="translate the authors' option files",
        description=CONVERT_OPTIONS,
        epilog=CONVERT_OPTIONS_EPILOG,
    )
    parser.add_argument("source", metavar="IN", help="the option file (YAML)")
    parser.add_argument("target", metavar="OUT", type=Path, help="the file to write, .yml")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> None:
    """Translate the file and say what has become of it."""
    target: Path = parsed.target
    if target.suffix not in (".yml", ".yaml"):
        raise OptionsError(f"{target}: the name must end in .yml.")
    if target.exists() and not parsed.overwrite:
        raise OptionsError(f"{target} is there already; choose another name or add --overwrite.")
    if not target.absolute().parent.is_dir():
        raise OptionsError(f"{target}: there is no folder {target.parent}.")

    from constyle_arch.files import save_bytes_atomically
    from constyle_arch.options.authors import convert
    from constyle_arch.options.reading import read_option_file
    from constyle_arch.training.runner import prepare_basicsr

    options = read_option_file(parsed.source)
    prepare_basicsr()
    made = convert(options)
    header = (
        f"{Path(parsed.source).name}, written by `basicsr convert-options` as an option file "
        "of this package."
    )
    save_bytes_atomically(
        made.text(header, "Comments name what an option is there.").encode(), target
    )
    print(f"Wrote {target}.")
    print(
        "Translated:",
        *(f"{'.'.join(path)}, from {there}" for path, there in made.comments.items()),
        sep="\n  ",
    )
    if made.left_out:
        print("Left out:", *(f"{key}: {why}" for key, why in made.left_out.items()), sep="\n  ")
    print(f"Next:\n  basicsr check -opt {target}")
