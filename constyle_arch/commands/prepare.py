"""Prepare data sets: read and check every image, match pairs by name, and pack them into LMDBs,
larger training images as overlapping sub-images. Files with problems are listed at the end. After
an interruption the same command resumes.

Download a data set first and unpack it as described in datasets/README.md.
"""

import argparse
from pathlib import Path
from typing import Any

from constyle_arch.commands.arguments import add_name_arguments, names_given
from constyle_arch.data.preparation.catalogue import DATA_SETS
from constyle_arch.errors import DataError
from constyle_arch.options.flags import add_number

HELP = "prepare data sets"

EXAMPLES = """\
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


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add a command for each data set."""
    parser.set_defaults(when_interrupted="the same command resumes", sub_image=None, overlap=None)
    data_sets = parser.add_subparsers(dest="data_set", metavar="DATA_SET", required=True)
    sample = data_sets.add_parser(
        "sample", help="photographs for all tasks, without a download", description=SAMPLE
    )
    sample.add_argument(
        "tasks", nargs="*", metavar="TASK", help="dehaze, derain, deblur, denoise (default: all)"
    )
    _add_place(sample, "-o", "--output", "datasets/sample", "where to write")
    folders = data_sets.add_parser("folders", help="your own images", description=FOLDERS)
    folders.add_argument("--gt", required=True, metavar="DIR", help="the clean images")
    folders.add_argument("--lq", metavar="DIR", help="the degraded images")
    add_name_arguments(folders)
    folders.add_argument(
        "-o", "--output", metavar="DIR", help="the folder to write; not needed with --check"
    )
    _add_sub_image_arguments(folders, KEEP_WHOLE)
    _add_packing_arguments(folders)
    for name in DATA_SETS:
        _add_data_set(data_sets, name)


def _add_data_set(data_sets: Any, name: str) -> None:
    data_set = DATA_SETS[name]
    parts = " and ".join(
        f"{plan.images} images to {part}" for part, plan in data_set.splits.items()
    )
    description = f"Prepare {name} ({parts}). Where to get it: datasets/README.md, section {name}."
    parser = data_sets.add_parser(name.lower(), help=f"{name}: {parts}", description=description)
    _add_place(parser, "-i", "--input", data_set.source, "the unpacked download")
    _add_place(parser, "-o", "--output", data_set.prepared, "where to write")
    parser.add_argument(
        "--part", choices=list(data_set.splits), help="only this part (default: those that exist)"
    )
    if plan := data_set.splits.get("train"):
        size = f"{plan.sub_image} with an overlap of {plan.overlap}"
        _add_sub_image_arguments(parser, size if plan.sub_image else KEEP_WHOLE)
    _add_packing_arguments(parser)


def _add_place(
    parser: argparse.ArgumentParser, short: str, flag: str, default: str, what: str
) -> None:
    parser.add_argument(
        short, flag, default=default, metavar="DIR", help=f"{what} (default: {default})"
    )


def _add_sub_image_arguments(parser: argparse.ArgumentParser, default: str) -> None:
    cut = f"cut training images into N×N pixels (default: {default})"
    add_number(parser, "--sub-image", cut)
    add_number(parser, "--overlap", "overlap of sub-images, in pixels (default: a quarter of N)")


def _add_packing_arguments(parser: argparse.ArgumentParser) -> None:
    workers = "processes that read images (default: one for each core)"
    add_number(parser, "--workers", workers, least=0)
    parser.add_argument(
        "--leave-out", action="store_true", help="leave out images that have a problem"
    )
    parser.add_argument(
        "--check", action="store_true", help="read and check every image, write nothing"
    )


def run(parsed: argparse.Namespace) -> None:
    """Prepare the data set named."""
    if parsed.data_set == "folders":  # before the libraries of images are imported
        _check_folders(parsed)

    from constyle_arch.data.preparation.data_sets import prepare_data_set, prepare_folders
    from constyle_arch.data.preparation.plan import Plan

    if parsed.data_set == "sample":
        from constyle_arch.data.preparation.sample import prepare_sample

        prepare_sample(parsed.output, parsed.tasks)
        return
    packing = {"workers": parsed.workers, "leave_out": parsed.leave_out, "check_only": parsed.check}
    if parsed.overlap is not None and parsed.sub_image is None:
        raise DataError("--overlap is of sub-images; give their size too, --sub-image.")
    sub_image = parsed.sub_image or 0
    overlap = sub_image // 4 if parsed.overlap is None else parsed.overlap
    if parsed.data_set == "folders":
        names = names_given(parsed, "lq")
        plan = Plan(parsed.gt, parsed.lq, names=names, sub_image=sub_image, overlap=overlap)
        prepare_folders(plan, Path(parsed.output or "."), **packing)
    else:
        data_set = {name.lower(): one for name, one in DATA_SETS.items()}[parsed.data_set]
        if parsed.sub_image is not None:
            data_set = data_set.cut(sub_image, overlap)
        prepare_data_set(data_set, parsed.input, parsed.output, parsed.part, **packing)


def _check_folders(parsed: argparse.Namespace) -> None:
    names_given(parsed, "lq")
    for option, folder in (("--gt", parsed.gt), ("--lq", parsed.lq)):
        if folder == "":
            raise DataError(f"{option} is empty; name the folder of the images.")
        if folder and "*" not in folder and not Path(folder).expanduser().is_dir():
            found = "is a file" if Path(folder).expanduser().exists() else "does not exist"
            raise DataError(f"{option}: {folder} {found}; name the folder of the images.")
    if not parsed.output and not parsed.check:
        raise DataError("-o is missing; it names the folder to write.")
