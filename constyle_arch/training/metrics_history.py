"""The record of a run's validations, which decides which network is the best."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from constyle_arch.errors import RunError
from constyle_arch.files import save_bytes_atomically

FILE = "metrics_history.json"


class MetricsHistory:
    """The mean scores of each validation, kept in `metrics_history.json` beside the networks.

    Args:
        folder: where the file is; it is read if it is there.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self.records: list[dict[str, Any]] = []
        if self.path.is_file():
            try:
                for one in json.loads(self.path.read_text(encoding="utf-8")):
                    self.add(str(one["dataset"]), int(one["iter"]), dict(one["scores"]))
            except (ValueError, TypeError, KeyError) as error:
                raise RunError(
                    f"{self.path} is damaged ({error}); remove it to continue without it."
                ) from error

    def forget_after(self, iteration: int) -> None:
        """Drop what was measured after `iteration`, where a run is resumed."""
        self.records = [record for record in self.records if record["iter"] <= iteration]

    def has(self, dataset: str, iteration: int) -> bool:
        """Whether `dataset` was validated at `iteration`."""
        return any((one["dataset"], one["iter"]) == (dataset, iteration) for one in self.records)

    def add(self, dataset: str, iteration: int, scores: Mapping[str, float | None]) -> None:
        """Note the mean scores of a validation; None where there is no mean."""
        self.records.append({"dataset": dataset, "iter": iteration, "scores": dict(scores)})

    def write(self) -> None:
        """Write the file, whole or not at all.

        Raises:
            RunError: it cannot be written.
        """
        save_bytes_atomically(json.dumps(self.records, indent=1).encode(), self.path)

    def best(self, metrics: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
        """The best value of each data set and metric, and its iteration, the newest of equals.

        A metric that was never measured is left out.

        Args:
            metrics: `val.metrics` of the options; `better` is `higher` (default) or `lower`.
        """
        best: dict[str, dict[str, dict[str, Any]]] = {}
        for record in self.records:
            of_dataset = best.setdefault(record["dataset"], {})
            for metric, options in metrics.items():
                better, value = options.get("better", "higher"), record["scores"].get(metric)
                sign = -1 if better == "lower" else 1
                so_far = of_dataset.get(metric, {"val": -sign * math.inf})
                if value is not None and sign * value >= sign * so_far["val"]:
                    of_dataset[metric] = {"better": better, "val": value, "iter": record["iter"]}
        return best
