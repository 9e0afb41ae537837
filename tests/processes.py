"""The `basicsr` command as users run it, in processes and directories of its own.

Importing torch and BasicSR takes longer than a short training does. Python's fork server imports
them once, and each command is forked from it.
"""

import contextlib
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from constyle_arch import cli

REPOSITORY = Path(__file__).parents[1]
COMMAND = (sys.executable, "-m", "constyle_arch")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
ONE_THREAD_OF_THE_CPU = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}

forks = multiprocessing.get_context("forkserver")
forks.set_forkserver_preload(["tests.preloaded"])


def run_command(
    *arguments: str | Path, cwd: Path, processes: int = 1, seconds: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end; by several processes as torchrun does, which gives all 30 seconds
    where one fails."""
    ranks = started(*arguments, cwd=cwd, processes=processes)
    while running := [rank.process.sentinel for rank in ranks if rank.runs]:
        failed = any(rank.process.exitcode for rank in ranks)
        if not wait(running, timeout=30 if failed else seconds):
            for rank in ranks:
                rank.process.kill()
            assert failed, f"{arguments} takes longer than {seconds} s"
    results = [rank.wait() for rank in ranks]
    return subprocess.CompletedProcess(
        results[0].args,
        next((result.returncode for result in results if result.returncode), 0),
        "".join(result.stdout for result in results),
        "".join(result.stderr for result in results),
    )


def run_launched(
    launcher: tuple[str, ...], *arguments: str | Path, cwd: Path, seconds: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run `launcher` with the arguments, as a new program."""
    return subprocess.run(
        [*launcher, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **ONE_THREAD_OF_THE_CPU},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def started(*arguments: str | Path, cwd: Path, processes: int = 1) -> list["Command"]:
    """Start the command, by so many processes."""
    return [
        Command(*arguments, cwd=cwd, environment=environment)
        for environment in _environments(processes)
    ]


class Command:
    """A `basicsr` command that is running; what it writes can be read while it does.

    Args:
        arguments: of the command.
        cwd: its working directory.
        environment: variables besides those of this process.
        terminal: the path of one to write to, instead of files.
    """

    def __init__(
        self,
        *arguments: str | Path,
        cwd: Path,
        environment: Mapping[str, str] | None = None,
        terminal: str | None = None,
    ) -> None:
        self.arguments = [str(argument) for argument in arguments]
        self._folder = tempfile.TemporaryDirectory()
        self._written = [Path(self._folder.name) / name for name in ("stdout", "stderr")]
        for path in self._written:
            path.touch()
        environment = {**os.environ, **ONE_THREAD_OF_THE_CPU, **(environment or {})}
        written = [Path(terminal)] * 2 if terminal else self._written
        self.process = _forked(_run, self.arguments, cwd, environment, written)

    @property
    def runs(self) -> bool:
        return self.process.is_alive()

    @property
    def stderr(self) -> str:
        return self._written[1].read_text()

    def kill(self) -> None:
        """Kill it and its loader's workers at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def wait(self, seconds: float = 300) -> subprocess.CompletedProcess[str]:
        """How it ended."""
        self.process.join(seconds)
        assert not self.runs, f"{self.arguments} takes longer than {seconds} s"
        texts = [path.read_text() for path in self._written]
        self._folder.cleanup()
        return subprocess.CompletedProcess(self.arguments, self.process.exitcode, *texts)


def run_forked(function: Callable[..., object], of_each: Sequence[tuple[object, ...]]) -> None:
    """Call a function of a module in a process for each tuple of arguments."""
    processes = [_forked(function, *arguments) for arguments in of_each]
    for process in processes:
        process.join()
        assert process.exitcode == 0


def _forked(function: Callable[..., object], *arguments: object) -> ForkServerProcess:
    process = forks.Process(target=function, args=arguments)
    with contextlib.chdir(REPOSITORY):  # where the server finds `tests`
        process.start()
    return process


def _environments(processes: int) -> list[dict[str, str]]:
    """What torchrun sets."""
    if processes == 1:
        return [{}]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "none"}
    return [
        {**meeting, "WORLD_SIZE": str(processes), "RANK": str(rank), "LOCAL_RANK": str(rank)}
        for rank in range(processes)
    ]


def _run(arguments: list[str], cwd: Path, environment: dict[str, str], written: list[Path]) -> None:
    """What `python -m constyle_arch` does, in a process that was forked."""
    os.setsid()
    multiprocessing.set_start_method(None, force=True)  # loaders start their workers as elsewhere
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in enumerate(written, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY), number)
    # those of the server are for a pipe
    sys.stdout, sys.stderr = (open(number, "w", 1, closefd=False) for number in (1, 2))  # noqa: SIM115
    sys.exit(cli.main(arguments))
