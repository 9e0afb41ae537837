"""Write a complete option file for your own photographs. Network, crops, batch, schedule and
intervals are fitted to the images, the available time and this machine, on which a few steps are
timed. Some photographs are held out of the training, to validate on.

Without --lq the clean photographs are degraded as they are read: noise, rain, haze or motion blur.
"""

import argparse
import re
from pathlib import Path

from constyle_arch.commands.arguments import (
    add_name_arguments,
    check_option_target,
    names_given,
)
from constyle_arch.options.flags import add_number
from constyle_arch.training.own_options import SIZES, TASKS, option_file

HELP = "write an option file for your own images"

MOST_MINUTES = 525_600
"""A year."""

EXAMPLES = """\
  basicsr init derain --gt mine/clean --lq mine/rainy --minutes 60 -o my.yml
  basicsr init denoise --gt photos --size tiny --iterations 2000
"""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("task", choices=TASKS, metavar="TASK", help=", ".join(TASKS))
    parser.add_argument(
        "--gt", required=True, metavar="DIR", help="the clean images: a folder or an LMDB"
    )
    parser.add_argument("--lq", metavar="DIR", help="the degraded ones, of the same sizes")
    add_name_arguments(parser)
    size = "size of the network (default: small, or tiny for a short training)"
    parser.add_argument("--size", choices=SIZES, help=size)
    length = parser.add_mutually_exclusive_group()
    duration = "duration of the training on this machine"
    add_number(length, "--minutes", duration, kind=float, default=60, above=0, most=MOST_MINUTES)
    add_number(length, "--iterations", "length of the training, instead of --minutes", least=1)
    file = "the file to write (default: my_TASK.yml)"
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.yml", help=file)
    parser.add_argument("--overwrite", action="store_true", help="replace FILE.yml if it exists")


def run(parsed: argparse.Namespace) -> None:
    """Look at the images, time some steps, and write the file."""
    file = parsed.output or Path(f"my_{parsed.task}.yml")
    names = names_given(parsed, "lq")
    check_option_target(file, parsed.overwrite)

    from constyle_arch.files import save_bytes_atomically
    from constyle_arch.training.own_data import look_at

    data = look_at(parsed.gt, parsed.lq, names)
    images = "pairs" if data.lq else "clean images"
    print(f"{data.pairs} {images}; timing some steps on this machine …", flush=True)

    from constyle_arch.training.fitting import fit
    from constyle_arch.training.runner import prepare_basicsr

    prepare_basicsr()
    settings, timing = fit(
        re.sub(r"[^\w.-]", "_", file.stem),
        parsed.task,
        data,
        size=parsed.size,
        minutes=parsed.minutes,
        iterations=parsed.iterations,
    )
    save_bytes_atomically(option_file(settings).encode(), file)
    held_out = data.clean // settings.hold_out
    start = f", which starts from the pretrained network {settings.start}" if settings.start else ""
    print(f"""\
Wrote {file}:
  data        {data.clean - held_out} clean images train, {held_out} are held out to validate
  network     {settings.size}, {timing.parameters / 1e6:.3f} M parameters{start}
  step        {settings.batch} crops of {settings.crop}×{settings.crop} pixels, \
{timing.step:.2f} s on {timing.device}
  training    {settings.iterations} iterations, about {timing.minutes(settings):.0f} min here
Next:
  basicsr train -opt {file}
  basicsr test --weights experiments/{settings.name}
  basicsr restore --weights experiments/{settings.name} -i PHOTOS -o restored""")
