"""The report: tables from what the trainings left, with paired differences and their intervals."""

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from benchmarks.evidence.rows import PROMPTER_BATCH, PROMPTER_ITERATIONS, ROWS, TASKS, Task
from constyle_arch.archs.constyle_arch import ConStyle
from constyle_arch.reporting.complexity import count_parameters
from constyle_arch.reporting.scores import markdown_table
from constyle_arch.reporting.training_log import read_training_log

HEALTH = {"contrast_acc": "contrast_acc", "cos_positive": "cos +", "cos_negatives": "cos −"}
"""Measurements of the contrast in the log, and what the table calls them."""
LAST = 0.2
"""The share of a training, its last, over which they are averaged."""
T_95 = 1.96
"""Standard errors on either side of the mean; the test sets have 45 images at least."""

FINDINGS = Path(__file__).with_name("findings.md")
"""What people concluded; the rest of the page is computed."""
INTRODUCTION = f"""\
# Does ConStyle help?

Small networks, trained alike with and without ConStyle and compared image by image. `python -m
benchmarks.evidence` trains what is missing, resumes what was interrupted and writes this page:

```
python -m benchmarks.evidence --data DATA --work WORK
python -m benchmarks.evidence --data DATA --work WORK --report benchmarks/EVIDENCE.md
```

A Δ is the mean difference of the test images' PSNR to that of the U-Net without ConStyle (the row
above that has no Δ), in dB, with its 95 % interval over the images; where there are several seeds,
the images' differences are averaged over them first, and the mean of each seed follows in
brackets. An interval says how sure the difference of *these* networks is; how much another seed
would change it, the brackets say.
`contrast_acc`, cos + and cos − are the contrast's health over the last fifth of the training
([what they mean](../docs/training.md#is-the-contrast-healthy)). R² is how much of a degradation's
strength, the logarithm of the root mean square of what it changed in a crop of 128×128 pixels, a
linear map reads from ConStyle's second code, on photographs that neither was fitted to. M is
millions of parameters, ConStyle's encoder included where it is used; GMACs are for 256×256
pixels.

The data: CBSD432 to train on noise, CBSD68 to test; Rain100L's own parts; 28 rooms of SOTS indoor
to train on haze, 9 others to test. A network for all three does not see the photographs of
CBSD432 that are ground truths of Rain100L's test part. Training is in
bfloat16 with AdamW, the rate constant for a quarter of the iterations and then down a cosine, EMA
0.995; the averaged network is tested. ConStyle v2's rows first train a prompter on the same images,
{PROMPTER_ITERATIONS} iterations on batches of {PROMPTER_BATCH}. Its classes are noise, rain and
haze instead of ImageNet's, degraded and clean crops lie at one place, and the distance to the
classes of the clean images is left out.

"""


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
    """A training and its test; None where they are not finished."""
    results = work / "results" / name
    if not is_finished(results, TASKS[name.partition("-")[0]]):
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


def is_finished(results: Path, task: Task) -> bool:
    """Whether a test's folder has the results of all its data sets."""
    file = results / "results.json"
    return (
        file.is_file()
        and json.loads(file.read_text(encoding="utf-8"))["benchmarks"].keys() >= task.tests.keys()
    )


def table(work: Path, task: str) -> str:
    """The Markdown table of a task: its rows in the order of `ROWS`, those without a finished
    training left out.
    """
    runs = {row: runs_of(work, task, row) for row in TASKS[task].rows}
    tests = list(TASKS[task].tests)
    header = [
        "",
        *tests,
        *(f"Δ {test}" for test in tests),
        "seeds",
        "M",
        "GMACs",
        *HEALTH.values(),
        "R²",
    ]
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
                *(str(difference(by_seed, runs[against(task, row)], test) or "") for test in tests),
                str(len(every)),
                f"{(every[0].parameters - _unused(row)) / 1e6:.2f}",
                f"{every[0].gmacs:.2f}",
                *(
                    _mean_of([run.health[key] for run in every if key in run.health])
                    for key in HEALTH
                ),
                _mean_of([run.explained for run in every if run.explained is not None]),
            ]
        )
    return markdown_table(header, lines)


def against(task: str, row: str) -> str:
    """The row that a row is compared with."""
    return ROWS[row].against or TASKS[task].rows[0]


@dataclass(frozen=True)
class Difference:
    """How much better a row is than the baseline, in dB, image by image, averaged over the seeds.

    Attributes:
        mean: over the images.
        interval: half the 95 % interval of that mean.
        by_seed: the mean of each seed.
    """

    mean: float
    interval: float
    by_seed: list[float]

    def __str__(self) -> str:
        """With its interval, and each seed's where there are several."""
        seeds = (
            f" ({', '.join(f'{mean:+.2f}' for mean in self.by_seed)})"
            if len(self.by_seed) > 1
            else ""
        )
        return f"{self.mean:+.3f} ± {self.interval:.3f}{seeds}"


def difference(runs: dict[int, Run], baseline: dict[int, Run], test: str) -> Difference | None:
    """The difference to the baseline of the same seeds; None where they have no seed in common, or
    are the same.
    """
    seeds = sorted(runs.keys() & baseline.keys())
    if not seeds or runs is baseline:
        return None
    by_seed = [
        {
            image: score - _of(baseline[seed], test)[image]
            for image, score in _of(runs[seed], test).items()
        }
        for seed in seeds
    ]
    of_images = [fmean(differences[image] for differences in by_seed) for image in by_seed[0]]
    return Difference(
        mean=fmean(of_images),
        interval=T_95 * stdev(of_images) / math.sqrt(len(of_images)),
        by_seed=[fmean(differences.values()) for differences in by_seed],
    )


def runs_of(work: Path, task: str, row: str) -> dict[int, Run]:
    """The finished trainings of a row for a task, by seed."""
    found = {}
    for folder in sorted((work / "results").glob(f"{task}-{row}-*")):
        run = read_run(work, folder.name)
        if run:
            found[int(folder.name.rsplit("-", 1)[1])] = run
    return found


def page(work: Path) -> str:
    """The whole report."""
    tables = []
    for name, task in TASKS.items():
        if runs_of(work, name, task.rows[0]):
            tables.append(
                f"## {task.title}\n\n{setting(task)}\n\n{table(work, name)}\n\n"
                f"![Differences to the U-Net without ConStyle](evidence/{name}.svg)\n"
            )
    return INTRODUCTION + FINDINGS.read_text(encoding="utf-8") + "\n" + "\n".join(tables)


def setting(task: Task) -> str:
    """How the networks of a table were trained."""
    return (
        f"{task.iterations} iterations on batches of {task.batch_size} crops of "
        f"{task.gt_size}×{task.gt_size} pixels, rate {task.rate:g}; PSNR of "
        f"{'the luminance Y' if task.luminance else 'RGB'}."
    )


def _unused(row: str) -> int:
    """Parameters of the encoder where neither its features nor its code enter."""
    network = ROWS[row].network
    guided = network["type"].startswith("ConStyle")
    unused = guided and not network.get("use_features", True) and not network.get("use_code", True)
    return count_parameters(ConStyle()) if unused else 0


def _of(run: Run, test: str) -> dict[str, float]:
    return {image: score for (benchmark, image), score in run.scores.items() if benchmark == test}


def _mean_of(values: Sequence[float]) -> str:
    return f"{fmean(values):.2f}" if values else ""
