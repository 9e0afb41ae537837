"""The `basicsr` command."""

import argparse
import errno
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from runpy import run_path

from constyle_arch import __version__
from constyle_arch.errors import OptionsError, RunError, UserError

DESCRIPTION = """\
Train and test image restoration networks with BasicSR and ConStyle (IRConStyle, arXiv 2402.15784).
"""

EPILOG = """\
Restore a photograph with a pretrained network:

  basicsr restore -i photo.jpg -o restored.jpg --weights denoise

Train a network on sample photographs and test it:

  basicsr prepare sample
  basicsr train -opt options/demo_dehaze_constyle_restormer.yml
  basicsr test -opt options/test/demo_dehaze_constyle_restormer.yml

Everything is written below the current directory.
"""

COMMANDS = (
    *("prepare", "init", "check", "train", "plot", "test", "compare", "restore"),
    *("web", "latents", "transfer", "info", "convert", "convert-options", "export"),
)
"""In the order in which they are needed; each is a module of `commands`."""

FOR_TRAINING = ("basicsr", "pydantic", "scipy", "torchvision")
"""What the extra `train` installs."""

TO_DO = {
    errno.ENOSPC: "make room on the disk, and give the command again",
    errno.EDQUOT: "make room on the disk, and give the command again",
    errno.EROFS: "the disk is read-only; start elsewhere",
    errno.EACCES: "change the permissions, or name another place",
    errno.EPERM: "change the permissions, or name another place",
}
"""What to do about errors of the system that are no faults of the program."""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = _Parser(prog="basicsr", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument(
        "--version", action=_Versions, nargs=0, help="print the versions, for a report"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        command = import_module(f"constyle_arch.commands.{name.replace('-', '_')}")
        epilog = f"examples:\n{command.EXAMPLES}"
        added = commands.add_parser(
            name, help=command.HELP, description=command.__doc__, epilog=epilog
        )
        added.set_defaults(run=command.run, refuse=added.error)
        command.add_to(added)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code: 0; 1 where a part of the work failed, as reported; 2 for what the user can
        put right; 130 for Ctrl-C; 141 where nobody reads the output any more, as behind `| head`.
    """
    _prepare_output()
    try:
        try:
            return _main(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        try:
            print(flush=True)  # or was it another pipe?
        except BrokenPipeError:
            # Python flushes once more at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 128 + 13  # a shell's code for SIGPIPE
        raise


def _prepare_output() -> None:
    """Have everything that is printed accepted.

    A closed output takes it and shows nothing. A letter that the output's encoding lacks, and a
    file's name that is not UTF-8, are escaped.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  # kept
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _main(arguments: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    parsed = argparse.Namespace()
    try:
        _, unknown = build_parser().parse_known_args(arguments, parsed)
        if unknown:  # refused with the command's usage; parse_args would show that of all
            parsed.refuse(f"unrecognized arguments: {' '.join(unknown)}")
        parsed.arguments = arguments[1:]  # as they were given, for BasicSR
        return _run(parsed)
    except KeyboardInterrupt:
        advice = getattr(parsed, "when_interrupted", "")
        print(f"basicsr: interrupted{'; ' if advice else ''}{advice}", file=sys.stderr)
        return 130
    except OSError as error:
        if error.errno not in TO_DO:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"basicsr: error: {where}{error.strerror}; {TO_DO[error.errno]}.", file=sys.stderr)
        return 2
    except UserError as error:
        if stopped_by := getattr(error, "signal_number", 0):
            print(f"basicsr: {error}", file=sys.stderr)
            return int(128 + stopped_by)
        rank = os.environ.get("RANK", "0")
        if rank == "0" or not isinstance(error, OptionsError):  # options fail on every rank alike
            where = "" if rank == "0" else f" (process {rank})"
            print(f"basicsr: error{where}: {_plain(error)}", file=sys.stderr)
        return 2


def _run(parsed: argparse.Namespace) -> int:
    """Run a command; name the installation of what it needs and does not find."""
    try:
        return parsed.run(parsed) or 0
    except ModuleNotFoundError as error:
        if error.name not in FOR_TRAINING:
            raise
        from constyle_arch.registry import INSTALL

        raise RunError(
            f"`basicsr {parsed.command}` needs {error.name}, which is not installed: {INSTALL}"
        ) from error


def _plain(error: UserError) -> str:
    """The message alone, where a loader's worker has wrapped it in its traceback."""
    text = str(error)
    if text.startswith(f"Caught {type(error).__name__} in "):
        text = text.rsplit(f"\n{type(error).__module__}.{type(error).__qualname__}: ", 1)[-1]
    return text.strip()


class _Versions(argparse.Action):
    """Prints versions and ends. torch's are read from its file, which is quicker to import."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print one version a line."""
        torch = run_path(str(distribution("torch").locate_file("torch/version.py")))
        cuda = f"none, ROCm {torch['hip']}" if torch["hip"] else torch["cuda"] or "none"
        try:
            basicsr = version("basicsr")
        except PackageNotFoundError:
            basicsr = "none"
        print(f"constyle-arch {__version__}\nbasicsr {basicsr}")
        print(f"torch {torch['__version__']}\nCUDA {cuda}")
        parser.exit()


class _Parser(argparse.ArgumentParser):
    """Keeps the line breaks of descriptions and epilogs, for itself and its subcommands."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)  # type: ignore[arg-type]
