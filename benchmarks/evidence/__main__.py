"""Runs the trainings that are missing, tests them and writes the report.

  python -m benchmarks.evidence --data DATA --work evidence --tasks noise rain --rows without pixel
  --seeds 0

A training that was interrupted is resumed, one that is finished is kept. Several of these processes
may work on one folder at a time: each takes what no other has begun.
"""

import argparse
import contextlib
import json
import subprocess
import sys
from pathlib import Path

import yaml
from filelock import FileLock, Timeout
from tqdm import tqdm

from benchmarks.evidence.data import prepare
from benchmarks.evidence.plot import draw
from benchmarks.evidence.probe import explained
from benchmarks.evidence.report import is_finished, page, runs_of
from benchmarks.evidence.rows import (
    ROWS,
    TASKS,
    Task,
    has_code,
    latest,
    prompting,
    testing,
    training,
)
from constyle_arch import register


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="holds cbsd432, cbsd68, rain100l and sots_indoor"
    )
    parser.add_argument(
        "--work", type=Path, required=True, help="folder of the trainings, some gigabytes"
    )
    parser.add_argument(
        "--tasks", nargs="+", default=[task for task in TASKS if task != "full"], choices=TASKS
    )
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=ROWS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument(
        "--report",
        type=Path,
        help="train nothing; write the report to this file, its pictures beside it",
    )
    args = parser.parse_args()
    if args.report:
        probe_all(args.work.resolve())
        args.report.write_text(page(args.work), encoding="utf-8")
        for task in TASKS:
            if runs_of(args.work, task, TASKS[task].rows[0]):
                draw(args.work, task, args.report.parent / "evidence" / f"{task}.svg")
        return
    prepare(args.data, args.work / "data")
    runs = [
        (task, row, seed)
        for seed in args.seeds
        for task in args.tasks
        for row in args.rows
        if row in TASKS[task].rows
    ]
    for task, row, seed in tqdm(runs, desc="trainings", unit="training", disable=None):
        run(args.work.resolve(), task, row, seed)


def run(work: Path, task_name: str, row_name: str, seed: int) -> None:
    """Train and test a row for a task, unless that is done or another process is at it."""
    task, row, name = TASKS[task_name], ROWS[row_name], f"{task_name}-{row_name}-{seed}"
    (work / "claims").mkdir(parents=True, exist_ok=True)
    claim = FileLock(work / "claims" / name)
    try:
        claim.acquire(timeout=0)
    except Timeout:
        return
    try:
        if not is_finished(work / "results" / name, task):
            prompter = (
                prompted(work, task, f"{task_name}-prompter-{seed}", seed) if row.prompted else ""
            )
            _basicsr(work, "train", training(task, row, name, seed, prompter))
            _basicsr(work, "test", testing(task, row, name))
    finally:
        claim.release()


def prompted(work: Path, task: Task, name: str, seed: int) -> str:
    """Train the prompter of a task's rows, unless that is done; its name."""
    with FileLock(work / "claims" / name):
        if not (work / latest(name)).exists():
            _basicsr(work, "train", prompting(task, name, seed))
    return name


def probe_all(work: Path) -> None:
    """Fit the probe to the codes of every finished network that has them and was not probed yet."""
    register()
    probes = work / "probes"
    probes.mkdir(exist_ok=True)
    for folder in tqdm(
        sorted((work / "results").iterdir()), desc="probes", unit="network", disable=None
    ):
        task_name, _, rest = folder.name.partition("-")
        row_name = rest.rpartition("-")[0]
        file = probes / f"{folder.name}.json"
        if (
            file.exists()
            or not is_finished(folder, TASKS[task_name])
            or not has_code(ROWS[row_name])
        ):
            continue
        weights = work / latest(folder.name)
        with contextlib.chdir(work):
            file.write_text(json.dumps(explained(weights, TASKS[task_name])), encoding="utf-8")


def _basicsr(work: Path, command: str, options: dict[str, object]) -> None:
    file = work / "options" / command / f"{options['name']}.yml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(options, sort_keys=False), encoding="utf-8")
    resume = ["--auto_resume"] if command == "train" else []
    subprocess.run(
        [sys.executable, "-m", "constyle_arch", command, "-opt", str(file), *resume],
        cwd=work,
        check=True,
    )


main()
