"""The `basicsr` command."""

import argparse
import os
import sys
from collections.abc import Sequence

from constyle_arch import __version__
from constyle_arch.errors import OptionsError, UserError
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

The options are checked before anything is written. An experiment of the same name that is there already is moved to
experiments/NAME_archived_TIME, unless --auto_resume goes on with it.
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
  results/NAME/                   log, and DATASET_scores.csv with every image's scores
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

PREPARE = """\
Prepare data sets.
"""

SAMPLE = """\
Write a small dehazing data set made of the photographs in scikit-image (nothing is downloaded): hazed by the
scattering model, as image folders and as LMDB. The photographs to test on appear nowhere in training.
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = _Parser(prog="basicsr", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"constyle-arch {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    train = commands.add_parser("train", help="train a network", description=TRAIN, epilog=TRAIN_EPILOG)
    add_run_arguments(train)
    test = commands.add_parser("test", help="restore and score test sets", description=TEST, epilog=TEST_EPILOG)
    add_run_arguments(test)

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

    prepare = commands.add_parser("prepare", help="prepare data sets", description=PREPARE)
    data_sets = prepare.add_subparsers(dest="data_set", metavar="DATA_SET", required=True)
    sample = data_sets.add_parser("sample", help="hazed photographs, made here", description=SAMPLE)
    sample.add_argument(
        "-o", "--output", default="datasets/sample", metavar="DIR", help="where to write (default: datasets/sample)"
    )
    return parser


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
        elif parsed.command == "prepare":
            from constyle_arch.preparation.sample import prepare_sample

            prepare_sample(parsed.output)
        else:
            from constyle_arch.runner import run_pipeline

            run_pipeline(parsed.command, arguments[1:], parsed.plugin)
    except KeyboardInterrupt:
        print("basicsr: interrupted; --auto_resume goes on from the newest training state", file=sys.stderr)
        return 130
    except UserError as error:
        rank = os.environ.get("RANK", "0")
        if rank == "0" or not isinstance(error, OptionsError):  # options fail on every rank alike
            print(f"basicsr: error{'' if rank == '0' else f' (process {rank})'}: {_plain(error)}", file=sys.stderr)
        return 2
    return 0


def _plain(error: UserError) -> str:
    """The message alone, where a loader worker has wrapped it in its traceback."""
    return str(error).rsplit(f"{type(error).__name__}: ", 1)[-1].strip()


class _Parser(argparse.ArgumentParser):
    """Keeps the line breaks of descriptions and epilogs, for itself and its subcommands."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)  # type: ignore[arg-type]
