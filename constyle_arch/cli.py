"""The `basicsr` command."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from constyle_arch import __version__
from constyle_arch.catalogue import DATA_SETS
from constyle_arch.errors import DataError, OptionsError, UserError
from constyle_arch.options import add_run_arguments

DESCRIPTION = """\
Train and test image restoration networks with BasicSR and ConStyle (IRConStyle, arXiv 2402.15784).
"""

EPILOG = """\
A first run, from sample photographs to restored ones:

  basicsr prepare sample
  basicsr train -opt options/demo_dehaze_constyle_restormer.yml
  basicsr test -opt options/test/demo_dehaze_constyle_restormer.yml

Everything a run writes goes below the directory it is started from.
"""

TRAIN = """\
Train a network as the option file says.

Writes, below the working directory:
  experiments/NAME/               log, copy of the options
  experiments/NAME/models/        net_g_N.pth every logger.save_checkpoint_freq iterations, net_g_latest.pth at
                                  the end, net_g_best.pth by the first metric of the first validation set
  experiments/NAME/training_states/  what resuming needs
  tb_logger/NAME/                 tensorboard logs

The options are checked before anything is written. An experiment of the same name that is there already is left alone:
--auto_resume goes on with it, --archive moves it to experiments/NAME_archived_TIME.

Ctrl-C and SIGTERM end the run after the step it is in, saved; --auto_resume goes on exactly where it was.
"""

TRAIN_EPILOG = """\
examples:
  basicsr train -opt options/dehaze_constyle_restormer.yml
  basicsr train -opt options/dehaze_constyle_restormer.yml --auto_resume
  basicsr train -opt my.yml --force_yml train:total_iter=1000 datasets:train:gt_size=64
  torchrun --nproc-per-node 4 -m constyle_arch train -opt my.yml      (4 GPUs of one machine)
"""

TEST = """\
Restore and score the data sets of the option file with the network that its path.pretrain_network_g names.

Writes, below the working directory:
  results/NAME/                   log; results.md, .json and .csv: the table, and every image's scores
  results/NAME/visualization/     restored images, with val.save_comparison next to input and clean image
"""

TEST_EPILOG = """\
example:
  basicsr test -opt options/test/demo_dehaze_constyle_restormer.yml
"""

CONVERT = """\
Convert weights between this project's tensor names and published ones (IRConStyle's, Restormer's, NAFNet's, MAXIM's)
and between .pth and .safetensors. Nothing is lost: what only training needs is kept aside and found again on the
way back.
"""

CONVERT_EPILOG = """\
examples:
  basicsr convert published.pth mine.pth
  basicsr convert experiments/NAME/models/net_g_latest.pth net.safetensors --key params_ema
  basicsr convert mine.pth published.pth --names published
"""

CHECK = """\
Check an option file as training or testing with it would, create nothing, and say what the run would do: images,
iterations, parameters, computations, memory. Every problem found is listed, with exit code 2.
"""

CHECK_EPILOG = """\
example:
  basicsr check -opt options/dehaze_constyle_restormer.yml
"""

COMPARE = """\
Put the results of several tests side by side: a table for each metric, with the differences from the first test.
"""

COMPARE_EPILOG = """\
example:
  basicsr compare results/dehaze_nafnet results/dehaze_constyle_nafnet
"""

PREPARE = """\
Prepare data sets: read and check every image, match the pairs by name, and pack them into LMDBs, larger training images
cut into overlapping sub-images. What is wrong with files is listed by name at the end. A preparation that was
interrupted goes on where it was when the same command is given again.

Download a data set first and unpack it as datasets/README.md says.
"""

PREPARE_EPILOG = """\
examples:
  basicsr prepare sample                      photographs for all four tasks, made here
  basicsr prepare gopro                       datasets/GoPro, both parts
  basicsr prepare gopro --check               read and check it, write nothing
  basicsr prepare folders --gt clean --lq hazy --lq-name '{}_*' -o datasets/mine/train
"""

SAMPLE = """\
Write small data sets made of the photographs in scikit-image (nothing is downloaded), as image folders and as LMDB:
hazed, rained on, blurred by motion, and clean ones to add noise to. The photographs to test on appear nowhere in
training.
"""

FOLDERS = """\
Pack images of your own: clean images and, with --lq, their degraded versions. Writes gt.lmdb and lq.lmdb below OUTPUT.
"""


KEEP_WHOLE = "0, keep images whole"


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = _Parser(prog="basicsr", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"constyle-arch {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    train = commands.add_parser("train", help="train a network", description=TRAIN, epilog=TRAIN_EPILOG)
    add_run_arguments(train)
    test = commands.add_parser("test", help="restore and score test sets", description=TEST, epilog=TEST_EPILOG)
    add_run_arguments(test)

    check = commands.add_parser("check", help="check an option file", description=CHECK, epilog=CHECK_EPILOG)
    add_run_arguments(check)

    convert = commands.add_parser(
        "convert", help="rename or reformat weights", description=CONVERT, epilog=CONVERT_EPILOG
    )
    convert.add_argument("source", metavar="IN", help="a .pth or .safetensors file")
    convert.add_argument("target", metavar="OUT", help="the file to write; its suffix decides the format")
    convert.add_argument(
        "--names", choices=["own", "published"], default="own", help="of the tensors in OUT (default: own)"
    )
    convert.add_argument("--key", help="convert this section of IN alone, e.g. params_ema")
    convert.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")

    compare = commands.add_parser("compare", help="put tests side by side", description=COMPARE, epilog=COMPARE_EPILOG)
    compare.add_argument("results", nargs="+", metavar="RESULT", help="a folder below results/")
    compare.add_argument("-o", "--output", metavar="FILE.md", help="write the tables there too")

    prepare = commands.add_parser("prepare", help="prepare data sets", description=PREPARE, epilog=PREPARE_EPILOG)
    data_sets = prepare.add_subparsers(dest="data_set", metavar="DATA_SET", required=True)
    sample = data_sets.add_parser("sample", help="photographs for all tasks, made here", description=SAMPLE)
    sample.add_argument("tasks", nargs="*", metavar="TASK", help="dehaze, derain, deblur, denoise (default: all)")
    sample.add_argument(
        "-o", "--output", default="datasets/sample", metavar="DIR", help="where to write (default: datasets/sample)"
    )
    folders = data_sets.add_parser("folders", help="images of your own", description=FOLDERS)
    folders.add_argument("--gt", required=True, metavar="DIR", help="the clean images")
    folders.add_argument("--lq", metavar="DIR", help="the degraded images")
    folders.add_argument("--lq-name", default="{}", metavar="FORM", help="of their names, e.g. 'rain-{}' or '{}_*'")
    folders.add_argument("--gt-name", default="{}", metavar="FORM", help="of the clean names, e.g. 'norain-{}'")
    folders.add_argument("-o", "--output", metavar="DIR", help="the folder to write; not needed with --check")
    _add_packing_arguments(folders, sub_images=KEEP_WHOLE)
    for name in DATA_SETS:
        _add_data_set(data_sets, name)
    return parser


def _add_data_set(data_sets: Any, name: str) -> None:
    data_set = DATA_SETS[name]
    parts = " and ".join(f"{split.images} images to {part}" for part, split in data_set.splits.items())
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
    parser.add_argument("--part", choices=list(data_set.splits), help="this part alone (default: those that are there)")
    train = data_set.splits.get("train")
    default = (
        f"{train.plan.sub_image} with an overlap of {train.plan.overlap}"
        if train and train.plan.sub_image
        else KEEP_WHOLE
    )
    _add_packing_arguments(parser, sub_images=default if train else None)


def _add_packing_arguments(parser: argparse.ArgumentParser, sub_images: str | None) -> None:
    """Add what every preparation takes; `sub_images` says what is the default for those, None that there are none."""
    parser.set_defaults(sub_image=None, overlap=None)
    if sub_images:
        parser.add_argument(
            "--sub-image", type=int, metavar="N", help=f"cut images to train on into N×N pixels (default: {sub_images})"
        )
        parser.add_argument(
            "--overlap", type=int, metavar="N", help="of sub-images, in pixels (default: a quarter of N)"
        )
    parser.add_argument(
        "--workers", type=_count, metavar="N", help="processes that read images (default: one for each core)"
    )
    parser.add_argument("--leave-out", action="store_true", help="do without images that have a problem")
    parser.add_argument("--check", action="store_true", help="read and check every image, write nothing")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 2 for something the user can put right, 130 for Ctrl-C."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    parsed = build_parser().parse_args(arguments)
    try:
        if parsed.command == "convert":
            from constyle_arch.checkpoints.conversion import convert

            options = {"names": parsed.names, "key": parsed.key, "overwrite": parsed.overwrite}
            convert(parsed.source, parsed.target, **options)
            print(f"Wrote {parsed.target}.")
        elif parsed.command == "compare":
            from constyle_arch.atomic import save_bytes_atomically
            from constyle_arch.results.compare import compare

            tables = compare(parsed.results)
            print(tables, end="")
            if parsed.output:
                save_bytes_atomically(tables.encode(), Path(parsed.output))
        elif parsed.command == "prepare":
            _prepare(parsed)
        elif parsed.command == "check":
            from constyle_arch.runner import prepared_basicsr

            prepared_basicsr(parsed.plugin)
            from constyle_arch.checking import check_run

            print(check_run(arguments[1:]), end="")
        else:
            from constyle_arch.runner import run_pipeline

            run_pipeline(parsed.command, arguments[1:], parsed.plugin)
    except KeyboardInterrupt:
        again = {
            "train": "; --auto_resume goes on from the newest training state",
            "prepare": "; the same command goes on where it was",
        }
        print(f"basicsr: interrupted{again.get(parsed.command, '')}", file=sys.stderr)
        return 130
    except UserError as error:
        if stopped_by := getattr(error, "signal_number", 0):
            print(f"basicsr: {error}", file=sys.stderr)
            return int(128 + stopped_by)
        rank = os.environ.get("RANK", "0")
        if rank == "0" or not isinstance(error, OptionsError):  # options fail on every rank alike
            print(f"basicsr: error{'' if rank == '0' else f' (process {rank})'}: {_plain(error)}", file=sys.stderr)
        return 2
    return 0


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is not 0 or more")
    return number


def _prepare(parsed: argparse.Namespace) -> None:
    from constyle_arch.preparation.data_sets import prepare_data_set, prepare_folders
    from constyle_arch.preparation.plan import Plan
    from constyle_arch.preparation.sample import prepare_sample

    if parsed.data_set == "sample":
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
        plan = Plan(gt=parsed.gt, lq=parsed.lq, names=names, sub_image=parsed.sub_image or 0, overlap=overlap)
        prepare_folders(plan, Path(parsed.output or "."), **packing)
    else:
        data_set = next(data_set for name, data_set in DATA_SETS.items() if name.lower() == parsed.data_set)
        if parsed.sub_image is not None:
            data_set = data_set.cut(parsed.sub_image, overlap)
        prepare_data_set(data_set, parsed.input, parsed.output, parsed.part, **packing)


def _plain(error: UserError) -> str:
    """The message alone, where a loader worker has wrapped it in its traceback."""
    return str(error).rsplit(f"{type(error).__name__}: ", 1)[-1].strip()


class _Parser(argparse.ArgumentParser):
    """Keeps the line breaks of descriptions and epilogs, for itself and its subcommands."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)  # type: ignore[arg-type]
