"""Running BasicSR's own pipelines, repaired, below the working directory."""

import sys
from collections.abc import Sequence
from pathlib import Path


def run_pipeline(command: str, flags: Sequence[str]) -> None:
    """Run BasicSR's `train_pipeline` or `test_pipeline`.

    Args:
        command: `train` or `test`.
        flags: the command line after the command, as `options.add_run_arguments` describes it.

    Raises:
        UserError: the run cannot start or cannot do what its options promise.
    """
    import constyle_arch
    from constyle_arch import repairs

    constyle_arch.register()
    repairs.apply()
    from basicsr.test import test_pipeline
    from basicsr.train import train_pipeline

    from constyle_arch.repairs.processes import leave_process_group

    sys.argv = [f"basicsr {command}", *flags]  # BasicSR reads its flags there and notes them in the experiment
    pipeline = train_pipeline if command == "train" else test_pipeline
    pipeline(str(Path.cwd()))
    leave_process_group()
