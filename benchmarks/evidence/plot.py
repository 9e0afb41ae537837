"""The report's pictures: each row's difference to the baseline, with its interval."""

from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.evidence.report import against, difference, runs_of
from benchmarks.evidence.rows import ROWS, TASKS
from constyle_arch.reporting.figures import save_figure


def draw(work: Path, task: str, file: Path) -> None:
    """Draw the differences of a task's rows, a panel for each test set."""
    runs = {row: found for row in TASKS[task].rows if (found := runs_of(work, task, row))}
    rows = [row for row in reversed(runs) if row != against(task, row)]
    tests = list(TASKS[task].tests)
    figure = Figure(figsize=(3 + 2.2 * len(tests), 1 + 0.32 * len(rows)), layout="constrained")
    panels = figure.subplots(1, len(tests), sharey=True, squeeze=False)[0]
    for panel, test in zip(panels, tests, strict=True):
        panel.axvline(0, color="gray", linewidth=0.8)
        for height, row in enumerate(rows):
            found = difference(runs[row], runs[against(task, row)], test)
            if found:
                panel.errorbar(
                    found.mean, height, xerr=found.interval, fmt="o", color="C0", markersize=4
                )
                panel.plot(
                    found.by_seed, [height] * len(found.by_seed), "|", color="C1", markersize=9
                )
        panel.set_title(test, fontsize=9)
        panel.set_xlabel("Δ PSNR (dB)", fontsize=8)
        panel.tick_params(labelsize=8)
    panels[0].set_yticks(range(len(rows)), [ROWS[row].title for row in rows])
    file.parent.mkdir(parents=True, exist_ok=True)
    save_figure(figure, file)
