"""Train a network by an option file.

Writes, below the current directory:
  experiments/NAME/                  log, copy of the options
  experiments/NAME/models/           net_g_N.pth every logger.save_checkpoint_freq iterations,
                                     net_g_latest.pth at the end, net_g_best.pth by the first
                                     metric of the first validation set
  experiments/NAME/training_states/  what resuming needs
  tb_logger/NAME/                    tensorboard logs

The options are checked before anything is written. An existing experiment of the same name is not
touched: --auto_resume resumes it, --archive moves it to experiments/NAME_archived_TIME.

Ctrl-C and SIGTERM end the run after the current step, saved. A resumed run ends bit-identical to an
uninterrupted one.
"""

import argparse

from constyle_arch.options.flags import add_training_arguments
from constyle_arch.options.reading import read_option_file

HELP = "train a network"

EXAMPLES = """\
  basicsr train -opt options/dehaze_constyle_restormer.yml
  basicsr train -opt options/dehaze_constyle_restormer.yml --auto_resume
  basicsr train -opt my.yml --total-iter 1000 --force_yml datasets:train:gt_size=64
  torchrun --nproc-per-node 4 -m constyle_arch train -opt my.yml      (4 GPUs of one machine)
"""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_training_arguments(parser)
    parser.set_defaults(when_interrupted="--auto_resume resumes from the newest training state")


def run(parsed: argparse.Namespace) -> None:
    """Run BasicSR's training pipeline."""
    read_option_file(parsed.opt)  # its errors are reported before torch is imported
    from constyle_arch.training.runner import run_pipeline

    run_pipeline("train", parsed.arguments, parsed.plugin)
