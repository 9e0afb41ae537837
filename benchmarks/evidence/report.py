"""The report: tables from what the trainings left, with paired differences and their intervals."""

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from benchmarks.evidence.rows import ROWS, TASKS
from constyle_arch.plotting.training_log import read_training_log
from constyle_arch.results.scores import markdown_table

BASELINE = "without"
HEALTH = {"contrast_acc": "contrast_acc", "cos_positive": "cos +", "cos_negatives": "cos −"}
"""Measurements of the contrast in the log, and what the table calls them."""
LAST = 0.2
"""The share of a training, its last, over which they are averaged."""
T_95 = 1.96
"""Standard errors on either side of the mean; the test sets have 45 images at least."""


@dataclass(frozen=True)
class Run:
    """What one training left.

    Attributes:
        scores: PSNR of each image, by test set and image.
        health: measurements of the contrast; empty without one.
        parameters, gmacs: of the network; GMACs for 256×256 pixels.
        explained: see `probe`; None where that was not measured.
    """

    scores: dict[tuple[str, str], float]
    health: dict[str, float]
    parameters: int
    gmacs: float
    explained: float | None


def read_run(work: Path, name: str) -> Run | None:
    """A finished training and its test; None where there is none."""
    results = work / "results" / name
    if not (results / "results.json").is_file():
        return None
    with (results / "results.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["image"] != "mean"]
    content = json.loads((results / "results.json").read_text(encoding="utf-8"))
    log = read_training_log(work / "experiments" / name)
    start = (1 - LAST) * max(log.learning_rate)
    health = {
        key: fmean(value for iteration, value in log.values[key].items() if iteration >= start)
        for key in HEALTH
        if key in log.values
    }
    probe = work / "probes" / f"{name}.json"
    return Run(
        scores={(row["benchmark"], row["image"]): float(row["psnr"]) for row in rows},
        health=health,
        parameters=content["parameters"],
        gmacs=content["gmacs"],
        explained=json.loads(probe.read_text(encoding="utf-8")) if probe.is_file() else None,
    )


def table(work: Path, task: str) -> str:
    """The Markdown table of a task: its rows in the order of `ROWS`, those without a finished training left out."""
    runs = {row: _runs(work, task, row) for row in ROWS}
    tests = list(TASKS[task].tests)
    header = ["", *tests, *(f"Δ {test}" for test in tests), "seeds", "M", "GMACs", *HEALTH.values(), "R²"]
    lines = []
    for row, by_seed in runs.items():
        if not by_seed:
            continue
        every = list(by_seed.values())
        means = [fmean(fmean(_of(run, test).values()) for run in every) for test in tests]
        lines.append(
            [
                ROWS[row].title,
                *(f"{mean:.2f}" for mean in means),
                *("" if row == BASELINE else difference(by_seed, runs[BASELINE], test) for test in tests),
                str(len(every)),
                f"{every[0].parameters / 1e6:.2f}",
                f"{every[0].gmacs:.2f}",
                *(_mean_of([run.health[key] for run in every if key in run.health]) for key in HEALTH),
                _mean_of([run.explained for run in every if run.explained is not None]),
            ]
        )
    return markdown_table(header, lines)


def difference(runs: dict[int, Run], baseline: dict[int, Run], test: str) -> str:
    """The mean difference per image to the baseline of the same seeds, its 95 % interval, and each seed's mean."""
    seeds = sorted(runs.keys() & baseline.keys())
    if not seeds:
        return "–"
    by_seed = [
        {image: score - _of(baseline[seed], test)[image] for image, score in _of(runs[seed], test).items()}
        for seed in seeds
    ]
    of_images = [fmean(differences[image] for differences in by_seed) for image in by_seed[0]]
    text = f"{fmean(of_images):+.3f} ± {T_95 * stdev(of_images) / math.sqrt(len(of_images)):.3f}"
    if len(seeds) > 1:
        text += f" ({', '.join(f'{fmean(differences.values()):+.2f}' for differences in by_seed)})"
    return text


def _runs(work: Path, task: str, row: str) -> dict[int, Run]:
    found = {}
    for folder in sorted((work / "results").glob(f"{task}-{row}-*")):
        run = read_run(work, folder.name)
        if run:
            found[int(folder.name.rsplit("-", 1)[1])] = run
    return found


def _of(run: Run, test: str) -> dict[str, float]:
    return {image: score for (benchmark, image), score in run.scores.items() if benchmark == test}


def _mean_of(values: Sequence[float]) -> str:
    return f"{fmean(values):.2f}" if values else ""
