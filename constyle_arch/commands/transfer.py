"""Apply the degradation of one photograph to a clean one, as in figure 1 of the paper.

A network restores the degraded photograph; what it removes is the degradation. Its change of
contrast and colour is applied to the clean photograph, and a new texture with the spectrum and the
values of the rest is added.
"""

import argparse
import os
from pathlib import Path
from typing import Any

from constyle_arch.commands.arguments import (
    add_network_arguments,
    add_tlc_argument,
    add_weights_argument,
    load_chosen_network,
)
from constyle_arch.errors import DataError
from constyle_arch.options.flags import add_number

HELP = "give a clean photograph another's degradation"

EXAMPLES = """\
  basicsr transfer --content clean.png --style rainy.jpg --weights derain -o out.png
  basicsr transfer --content clean.png --style hazy.jpg --weights experiments/NAME -o out.png
"""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    needed: dict[str, Any] = {"required": True, "type": Path}
    parser.add_argument("--content", metavar="CLEAN", help="the clean photograph", **needed)
    parser.add_argument("--style", metavar="DEGRADED", help="the degraded photograph", **needed)
    add_weights_argument(parser, required=True)
    add_network_arguments(parser)
    add_tlc_argument(parser)
    add_number(parser, "--seed", "decides the texture", default=0, least=0, most=999_999)
    file = "the file to write, replaced if it exists"
    parser.add_argument("-o", "--output", metavar="FILE", help=file, **needed)


def run(parsed: argparse.Namespace) -> None:
    """Restore the degraded photograph, transfer what was taken away, and write the result."""
    from numpy.random import RandomState

    from constyle_arch.inference.photographs.photograph import (
        FORMATS,
        read_photograph,
        write_photograph,
    )
    from constyle_arch.inference.photographs.restorer import Restorer
    from constyle_arch.inference.transfer import transferred

    if parsed.output.suffix.lower() not in FORMATS:
        raise DataError(
            f"-o {parsed.output} is no image by its name; end it in {', '.join(FORMATS)}."
        )
    output = parsed.output.expanduser()
    for option, path in (("--content", parsed.content), ("--style", parsed.style)):
        if os.path.realpath(output) == os.path.realpath(path.expanduser()):
            raise DataError(f"-o {parsed.output} would overwrite {option}; name another file.")
    content = read_photograph(parsed.content.expanduser())
    degraded = read_photograph(parsed.style.expanduser())
    if (degraded.pixels == degraded.pixels[0, 0]).all():
        raise DataError(
            f"--style {parsed.style} has one colour everywhere, and so no texture; name another."
        )
    network, _, source = load_chosen_network(parsed)
    restored = Restorer(network).restored(degraded)
    result = transferred(content.colors, degraded.colors, restored.colors, RandomState(parsed.seed))
    write_photograph(content.with_colors(result), output)
    print(
        f"Wrote {parsed.output}: {parsed.content} with what {source} takes away from "
        f"{parsed.style}."
    )
