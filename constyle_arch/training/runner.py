"""Running BasicSR's own pipelines, repaired, below the working directory."""

import importlib.util
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from constyle_arch.allocator import keep_freed_memory
from constyle_arch.errors import OptionsError, UserError


def run_pipeline(command: str, flags: Sequence[str], plugins: Sequence[str] = ()) -> None:
    """Run BasicSR's `train_pipeline` or `test_pipeline`.

    Args:
        command: `train` or `test`.
        flags: the command line after the command, see `options.flags`.
        plugins: Python files to import first.

    Raises:
        UserError: the run cannot start or cannot do what its options promise.
    """
    keep_freed_memory()
    prepare_basicsr(plugins)
    from basicsr.test import test_pipeline
    from basicsr.train import train_pipeline

    from constyle_arch.basicsr_repairs.processes import leave_process_group
    from constyle_arch.training.experiments import remove_what_failed_starts_left
    from constyle_arch.training.interruption import handlers_put_back

    # BasicSR reads its flags there and notes them in the experiment
    sys.argv = [f"basicsr {command}", *flags]
    pipeline = train_pipeline if command == "train" else test_pipeline
    with handlers_put_back():
        try:
            pipeline(str(Path.cwd()))
        except BaseException:  # an interruption, too, may come before anything is saved
            remove_what_failed_starts_left()
            raise
        leave_process_group()


def prepare_basicsr(plugins: Sequence[str] = ()) -> None:
    """Register this package's components with BasicSR, repair it, and import the user's files.

    Raises:
        OptionsError: a file is missing, no Python file, or raises an error.
    """
    import constyle_arch

    constyle_arch.register()
    for number, file in enumerate(plugins):
        _import_file(file, f"constyle_plugin_{number}")


def _import_file(file: str, name: str) -> None:
    """Import a Python file under `name`, so that loader workers can unpickle what it defines."""
    if not Path(file).is_file():
        raise OptionsError(f"--plugin: the file {file} does not exist.")
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise OptionsError(f"--plugin: {file} is not a Python file; its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # whatever a file of the user's does
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == spec.origin]
        text = " ".join(str(error).split())
        if isinstance(error, SyntaxError) and error.filename == spec.origin:
            lines, text = [error.lineno], error.msg
        place = f", line {lines[-1]}" if lines else ""
        said = ": ".join(filter(None, (type(error).__name__, text)))
        raise OptionsError(f"--plugin: {file}{place}: {said}") from error
