"""`basicsr prepare`."""

import argparse
from pathlib import Path
from typing import Any

from constyle_arch.data.preparation.catalogue import DATA_SETS
from constyle_arch.errors import DataError

PREPARE = """\
Prepare data sets: read and check every image, match pairs by name, and pack them into LMDBs, larger
training images as overlapping sub-images. Files with problems are listed at the end. After an
interruption the same command resumes.

Download a data set first and unpack it as described in datasets/README.md.
"""

PREPARE_EPILOG = """\
examples:
  basicsr prepare sample                      photographs for all four tasks
  basicsr prepare gopro                       datasets/GoPro, both parts
  basicsr prepare gopro --check               read and check it, write nothing
  basicsr prepare folders --gt clean --lq hazy --lq-name '{}_*' -o datasets/mine/train
"""

SAMPLE = """\
Write small data sets from the photographs in scikit-image, without a download, as image folders and
LMDBs: with haze, rain and motion blur, and clean ones to add noise to. Test photographs do not
appear in training.
"""

FOLDERS = """\
Pack your own images: clean ones and, with --lq, their degraded versions. Writes gt.lmdb and lq.lmdb
below OUTPUT.
"""

KEEP_WHOLE = "0, keep images whole"


def add_to(commands: Any) -> None:
    """Add the command, with one of its own for each data set, to the parser."""
    parser = commands.add_parser(
        "prepare", help="prepare data sets", description=PREPARE, epilog=PREPARE_EPILOG
    )
    data_sets = parser.add_subparsers(dest="data_set", metavar="DATA_SET", required=True)
    sample = data_sets.add_parser(
        "sample", help="photographs for all tasks, without a download", description=SAMPLE
    )
    sample.add_argument(
        "tasks", nargs="*", metavar="TASK", help="dehaze, derain, deblur, denoise (default: all)"
    )
    sample.add_argument(
        "-o",
        "--output",
        default="datasets/sample",
        metavar="DIR",
        help="where to write (default: datasets/sample)",
    )
    folders = data_sets.add_parser("folders", help="your own images", description=FOLDERS)
    folders.add_argument("--gt", required=True, metavar="DIR", help="the clean images")
    folders.add_argument("--lq", metavar="DIR", help="the degraded images")
    folders.add_argument(
        "--lq-name",
        default="{}",
        metavar="FORM",
        help="form of their names, e.g. 'rain-{}' or '{}_*'",
    )
    folders.add_argument(
        "--gt-name", default="{}", metavar="FORM", help="form of the clean names, e.g. 'norain-{}'"
    )
    folders.add_argument(
        "-o", "--output", metavar="DIR", help="the folder to write; not needed with --check"
    )
    _add_packing_arguments(folders, sub_images=KEEP_WHOLE)
    for name in DATA_SETS:
        _add_data_set(data_sets, name)
    parser.set_defaults(run=run, when_interrupted="the same command resumes")


def _add_data_set(data_sets: Any, name: str) -> None:
    data_set = DATA_SETS[name]
    parts = " and ".join(
        f"{split.images} images to {part}" for part, split in data_set.splits.items()
    )
    description = f"Prepare {name} ({parts}). Where to get it: datasets/README.md, section {name}."
    parser = data_sets.add_parser(name.lower(), help=f"{name}: {parts}", description=description)
    parser.add_argument(
        "-i",
        "--input",
        default=data_set.source,
        metavar="DIR",
        help=f"the unpacked download (default: {data_set.source})",
    )
    parser.add_argument(
        "-o",
        "--output",
        default=data_set.prepared,
        metavar="DIR",
        help=f"where to write (default: {data_set.prepared})",
    )
    parser.add_argument(
        "--part", choices=list(data_set.splits), help="only this part (default: those that exist)"
    )
    train = data_set.splits.get("train")
    default = (
        f"{train.plan.sub_image} with an overlap of {train.plan.overlap}"
        if train and train.plan.sub_image
        else KEEP_WHOLE
    )
    _add_packing_arguments(parser, sub_images=default if train else None)


def _add_packing_arguments(parser: argparse.ArgumentParser, sub_images: str | None) -> None:
    """Add what every preparation takes; `sub_images` says what is the default for those, None that
    there are none.
    """
    parser.set_defaults(sub_image=None, overlap=None)
    if sub_images:
        parser.add_argument(
            "--sub-image",
            type=int,
            metavar="N",
            help=f"cut training images into N×N pixels (default: {sub_images})",
        )
        parser.add_argument(
            "--overlap",
            type=int,
            metavar="N",
            help="overlap of sub-images, in pixels (default: a quarter of N)",
        )
    parser.add_argument(
        "--workers",
        type=_count,
        metavar="N",
        help="processes that read images (default: one for each core)",
    )
    parser.add_argument(
        "--leave-out", action="store_true", help="leave out images that have a problem"
    )
    parser.add_argument(
        "--check", action="store_true", help="read and check every image, write nothing"
    )


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is not 0 or more")
    return number


def run(parsed: argparse.Namespace) -> None:
    """Prepare the data set named."""
    from constyle_arch.data.preparation.data_sets import prepare_data_set, prepare_folders
    from constyle_arch.data.preparation.plan import Plan

    if parsed.data_set == "sample":
        from constyle_arch.data.preparation.sample import prepare_sample

        prepare_sample(parsed.output, parsed.tasks)
        return
    packing = {"workers": parsed.workers, "leave_out": parsed.leave_out, "check_only": parsed.check}
    if parsed.overlap is not None and parsed.sub_image is None:
        raise DataError("--overlap is of sub-images; give their size too, --sub-image.")
    overlap = (parsed.sub_image or 0) // 4 if parsed.overlap is None else parsed.overlap
    if parsed.data_set == "folders":
        if not parsed.output and not parsed.check:
            raise DataError("-o is missing; it names the folder to write.")
        names = parsed.lq_name, parsed.gt_name
        plan = Plan(
            gt=parsed.gt,
            lq=parsed.lq,
            names=names,
            sub_image=parsed.sub_image or 0,
            overlap=overlap,
        )
        prepare_folders(plan, Path(parsed.output or "."), **packing)
    else:
        data_set = next(
            data_set for name, data_set in DATA_SETS.items() if name.lower() == parsed.data_set
        )
        if parsed.sub_image is not None:
            data_set = data_set.cut(parsed.sub_image, overlap)
        prepare_data_set(data_set, parsed.input, parsed.output, parsed.part, **packing)
