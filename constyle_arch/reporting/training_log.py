"""Numbers in the text logs of training runs, BasicSR's own and this package's."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from constyle_arch.errors import DataError

Curve: TypeAlias = dict[int, float]
"""A quantity: its value at each iteration it was logged at, in their order."""

STEP = re.compile(
    r"\[epoch: *[\d,]+, iter: *([\d,]+), lr:\(([^,)]*)[^)]*\)\] *(?:\[eta:[^\]]*\])?(.*)"
)
VALUE = re.compile(r"(\S+): (\S+)")
START = re.compile(r"Start training from epoch: \d+, iter: (\d+)")
END = "End of training."
VALIDATION = re.compile(r" INFO: Validation (.+)")
SCORE = re.compile(r"\t # (.+?): (\S+)")
OPENED_SECTION, CLOSED_SECTION = re.compile(r" +(.+):\["), re.compile(r" +\]")
OPTION = re.compile(r" +([^:]+): (.+)")

TIME = len("20240131_235959")
"""How long the time is with which the name of a log ends."""


@dataclass
class TrainingLog:
    """The numbers of a training run; they may be infinite or no numbers, as they were logged.

    Args:
        options: the run's, as it logged them when it was last started: `train.total_iter` to
            `"400"`.
        learning_rate: of the first group of parameters.
        values: losses and the like by their names in the log, `l_pix` or `contrast_acc`.
        metrics: the scores of validations by data set, then by metric.
    """

    options: dict[str, str] = field(default_factory=dict)
    learning_rate: Curve = field(default_factory=dict)
    values: dict[str, Curve] = field(default_factory=dict)
    metrics: dict[str, dict[str, Curve]] = field(default_factory=dict)

    def forget_after(self, iteration: int) -> None:
        """Drop what came after `iteration`, to which the run went back."""
        for curve in self._curves():
            for later in [one for one in curve if one > iteration]:
                del curve[later]

    def _curves(self) -> Iterator[Curve]:
        yield self.learning_rate
        yield from self.values.values()
        for scores in self.metrics.values():
            yield from scores.values()


def read_training_log(path: Path) -> TrainingLog:
    """Read a run's log, or all of those in an experiment's folder.

    A resumed run has a log for each start. It continued from a saved state, so a later log takes
    the place of all that an earlier one has after that state. A last line without an end is still
    being written, and left out.

    Args:
        path: an experiment's folder, or a log file.

    Raises:
        DataError: there is no log, it cannot be read, or it has no training step.
    """
    if not path.exists():
        raise DataError(
            f"{path} does not exist; give an experiment's folder, experiments/NAME, or a log file."
        )
    files = [path]
    if path.is_dir():
        files = sorted(path.glob("train_*.log"), key=lambda file: file.stem[-TIME:])
        if not files:
            raise DataError(
                f"{path} holds no log train_*.log; give the folder of a training run, "
                "experiments/NAME."
            )
    log = TrainingLog()
    for file in files:
        _read_file(file, log)
    if not log.learning_rate:
        raise DataError(
            f"{path} has no training step; wanted: a training's log, of logger.print_freq steps "
            "at least."
        )
    return log


def _read_file(path: Path, log: TrainingLog) -> None:
    reader = _Reader(log)
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.endswith("\n"):
                    reader.read(line)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


class _Reader:
    """Reads one file line by line into `log`."""

    def __init__(self, log: TrainingLog) -> None:
        self.log = log
        self.start: int | None = None
        self.iteration = 0
        self.ended = False
        self.dataset = ""
        self.validated_at = 0
        self.before_start: list[tuple[str, str, float]] = []
        self.sections: list[str] = []
        log.options.clear()

    def read(self, line: str) -> None:
        if "[epoch:" in line and (found := STEP.search(line)):
            self._note_step(int(found[1].replace(",", "")), found[2], found[3])
        elif found := SCORE.match(line):
            self._note_score(found[1], found[2])
        elif found := VALIDATION.search(line):
            self.dataset = found[1].strip()
            self.validated_at = self._iteration_of_validation()
        elif found := START.search(line):
            self._begin(int(found[1]))
        elif END in line:
            self.ended = True
        elif self.start is None:
            self._note_option(line)

    def _begin(self, iteration: int) -> None:
        self.start = self.iteration = iteration
        self.log.forget_after(iteration)
        for dataset, metric, score in self.before_start:
            self._add_score(dataset, metric, iteration, score)

    def _note_step(self, iteration: int, learning_rate: str, values: str) -> None:
        if self.start is None:  # the head of the file is missing
            self._begin(iteration - 1)
        self.iteration = iteration
        if (rate := _number(learning_rate)) is not None:
            self.log.learning_rate[iteration] = rate
        for name, text in VALUE.findall(values):
            if (value := _number(text)) is not None:
                self.log.values.setdefault(name, {})[iteration] = value

    def _note_score(self, metric: str, text: str) -> None:
        score = _number(text)
        if score is None or not self.dataset:
            return
        if self.start is None:  # made up for, at the state the run resumes from
            self.before_start.append((self.dataset, metric, score))
        else:
            self._add_score(self.dataset, metric, self.validated_at, score)

    def _add_score(self, dataset: str, metric: str, iteration: int, score: float) -> None:
        self.log.metrics.setdefault(dataset, {}).setdefault(metric, {})[iteration] = score

    def _iteration_of_validation(self) -> int:
        """The next multiple of `val.val_freq`, or the run's last; the log does not say."""
        if self.ended:
            return self._whole("train.total_iter") or self.iteration
        frequency = self._whole("val.val_freq")
        if not frequency:
            return self.iteration
        earlier = [
            iteration
            for curve in self.log.metrics.get(self.dataset, {}).values()
            for iteration in curve
        ]
        first_possible = max(
            [self.iteration, (self.start or 0) + 1, *(iteration + 1 for iteration in earlier)]
        )
        return -(-first_possible // frequency) * frequency

    def _whole(self, option: str) -> int:
        """An option that is a whole number, such as 4e5; 0 where it is not in the log."""
        return int(_number(self.log.options.get(option, "")) or 0)

    def _note_option(self, line: str) -> None:
        if found := OPENED_SECTION.fullmatch(line.rstrip()):
            self.sections.append(found[1])
        elif CLOSED_SECTION.fullmatch(line.rstrip()):
            del self.sections[-1:]
        elif found := OPTION.fullmatch(line.rstrip()):
            self.log.options[".".join([*self.sections, found[1]])] = found[2]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
