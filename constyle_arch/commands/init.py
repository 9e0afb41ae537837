"""`basicsr init`."""

import argparse
import re
from pathlib import Path
from typing import Any

from constyle_arch.errors import OptionsError
from constyle_arch.training.own_options import SIZES, TASKS, option_file

INIT = """\
Write a complete option file for your own photographs. Network, crops, batch, schedule and intervals
are fitted to the images, the available time and this machine, on which a few steps are timed. Some
photographs are held out of the training, to validate on.

Without --lq the clean photographs are degraded as they are read: noise, rain, haze or motion blur.
"""

INIT_EPILOG = """\
examples:
  basicsr init derain --gt mine/clean --lq mine/rainy --minutes 60 -o my.yml
  basicsr init denoise --gt photos --size tiny --iterations 2000
"""

MINUTES = 60


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "init",
        help="write an option file for your own images",
        description=INIT,
        epilog=INIT_EPILOG,
    )
    parser.add_argument("task", choices=TASKS, metavar="TASK", help=", ".join(TASKS))
    parser.add_argument(
        "--gt", required=True, metavar="DIR", help="the clean images: a folder or an LMDB"
    )
    parser.add_argument("--lq", metavar="DIR", help="the degraded ones, of the same sizes")
    parser.add_argument(
        "--lq-name",
        metavar="FORM",
        help="form of the degraded names, e.g. 'rain-{}' (default: detected)",
    )
    parser.add_argument(
        "--gt-name", metavar="FORM", help="form of the clean names, e.g. 'norain-{}'"
    )
    parser.add_argument(
        "--size",
        choices=SIZES,
        help="size of the network (default: small, or tiny for a short training)",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--minutes",
        type=float,
        metavar="M",
        help=f"duration of the training on this machine (default: {MINUTES})",
    )
    length.add_argument(
        "--iterations", type=int, metavar="N", help="length of the training, instead of --minutes"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE.yml",
        help="the file to write (default: my_TASK.yml)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace FILE.yml if it exists")
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> None:
    """Look at the images, time some steps, and write the file."""
    file = parsed.output or Path(f"my_{parsed.task}.yml")
    if file.suffix not in (".yml", ".yaml"):
        raise OptionsError(f"-o {file}: the name must end in .yml.")
    if file.exists() and not parsed.overwrite:
        raise OptionsError(f"-o {file} already exists; choose another name or add --overwrite.")
    if not file.absolute().parent.is_dir():
        raise OptionsError(f"-o {file}: there is no folder {file.parent}.")
    if parsed.minutes is not None and not parsed.minutes > 0:
        raise OptionsError(f"--minutes is {parsed.minutes:g}; it must be above 0.")
    if parsed.iterations is not None and parsed.iterations < 1:
        raise OptionsError(f"--iterations is {parsed.iterations}; it must be at least 1.")

    from constyle_arch.files import save_bytes_atomically
    from constyle_arch.training.own_data import look_at

    data = look_at(parsed.gt, parsed.lq, parsed.lq_name, parsed.gt_name)
    print(
        f"{data.pairs} {'pairs' if data.lq else 'clean images'}; timing some steps on this "
        "machine …",
        flush=True,
    )

    from constyle_arch.training import fitting
    from constyle_arch.training.runner import prepare_basicsr

    prepare_basicsr()
    minutes = MINUTES if parsed.minutes is None else parsed.minutes
    settings, timing = fitting.fit(
        re.sub(r"[^\w.-]", "_", file.stem),
        parsed.task,
        data,
        size=parsed.size,
        minutes=minutes,
        iterations=parsed.iterations,
    )
    save_bytes_atomically(option_file(settings).encode(), file)
    held_out = data.clean // settings.hold_out
    start = f", which starts from the pretrained network {settings.start}" if settings.start else ""
    print(
        f"Wrote {file}:\n"
        f"  data        {data.clean - held_out} clean images train, {held_out} are held out to "
        "validate\n"
        f"  network     {settings.size}, {timing.parameters / 1e6:.3f} M parameters{start}\n"
        f"  step        {settings.batch} crops of {settings.crop}×{settings.crop} pixels, "
        f"{timing.step:.2f} s on "
        f"{timing.device}\n"
        f"  training    {settings.iterations} iterations, about {timing.minutes(settings):.0f} "
        "minutes here\n"
        f"Next:\n"
        f"  basicsr train -opt {file}\n"
        f"  basicsr test --weights experiments/{settings.name}\n"
        f"  basicsr restore --weights experiments/{settings.name} -i PHOTOS -o restored"
    )
