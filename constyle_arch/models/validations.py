"""Validations of a training, and tests: restoring the images of data sets, scores, pictures."""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from basicsr.data import build_dataset
from basicsr.models.base_model import BaseModel
from basicsr.utils import get_root_logger, imwrite
from torch import Tensor
from torch.utils.data import DataLoader

from constyle_arch.distributed import all_reduce_max, ranks
from constyle_arch.errors import RunError, listed
from constyle_arch.files import save_bytes_atomically
from constyle_arch.inference.memory import is_out_of_memory
from constyle_arch.inference.restoring import tensors_not_finite
from constyle_arch.metrics import perceptual
from constyle_arch.options.schema import TrainingValidation
from constyle_arch.reporting.complexity import count_gmacs, count_parameters
from constyle_arch.reporting.pictures import Picture, comparison, encoded, stacked
from constyle_arch.reporting.report import Benchmark, Results
from constyle_arch.reporting.scores import INPUT, Row, means_of, text_table
from constyle_arch.torchvision_weights import download
from constyle_arch.training.metrics_history import MetricsHistory
from constyle_arch.training.random_state import random_state_kept
from constyle_arch.training.validation import Measured, measure

PANEL = 320
"""The longest side of an image in a validation's pictures, in pixels."""

IMAGES_SHOWN = 24
"""A test prints the scores of each image for data sets of up to this many."""


class Validations(BaseModel):  # type: ignore[misc]  # BasicSR publishes no types
    """A BasicSR model that scores images at their original size, and keeps the best network."""

    def prepare_validations(self, opt: Mapping[str, Any]) -> None:
        """Set up what validations and tests note, and read what was measured before."""
        self.metrics: dict[str, Any] = (opt.get("val") or {}).get("metrics") or {}
        download(perceptual.downloads(self.metrics))
        self.images_measured: dict[str, int] = {}
        self.not_finite: dict[str, int] = {}
        self.input_scores: dict[str, dict[str, float]] = {}
        self.best_metric_results: dict[str, Any] = {}
        if opt["is_train"]:
            self.history = MetricsHistory(Path(self.paths.models))

    def begin_report(self) -> None:
        """Begin the report of a test."""
        opt = self.opt
        self.report = Results(
            name=opt["name"],
            network=opt["network_g"]["type"],
            weights=f"{self.paths.pretrain_network_g}{self.section_taken}",
            parameters=count_parameters(self.net_g),
            gmacs=count_gmacs(self.get_bare_model(self.net_g)),
            metrics=list(self.metrics),
            suffix=self._suffix(),
            benchmarks={},
        )
        self.data_sets = {one["name"]: deepcopy(one) for one in opt["datasets"].values()}

    def _suffix(self) -> str:
        return str(self.val.suffix or self.opt["name"])

    def nondist_validation(
        self, dataloader: DataLoader[Any], current_iter: int | str, tb_logger: Any, save_img: bool
    ) -> None:
        """Restore every image of a data set, score it at its original size and log the means.

        In training the best network by the first metric of the first data set is kept as
        `net_g_best.pth`. In a test the table of all data sets is written, see `reporting.report`.
        The input is scored as well; in training, where it stays what it is, once.
        """
        dataset: Any = dataloader.dataset
        name = dataset.opt["name"]
        if self.is_train:
            current_iter = self.current_iter
            if self.history.has(name, self.current_iter):
                return  # the runner validates once more after the last iteration
        images = range(len(dataset))
        count = self.val.pictures if self.is_train else 0
        shown = images[:: -(-len(images) // count)] if count else images[:0]
        saves_every = save_img or self.val.save_comparison
        rows: list[Row] = []
        finite: list[bool] = []
        pictures: list[Picture] = []
        with random_state_kept():  # a resumed run may have this validation behind it
            for one in measure(
                self.restored_images,
                dataloader,
                self.metrics,
                score_input=not self.is_train or name not in self.input_scores,
                pictures_of=images if saves_every else shown,
                progress=self.val.pbar,
                until=self._asked_to_stop,
            ):
                rows.append(one.row)
                finite.append(one.finite)
                if one.pictures and saves_every:
                    self._save_pictures(one, name, current_iter, save_img)
                if one.pictures and len(rows) - 1 in shown:
                    pictures.append(comparison(_labelled(one), panel=PANEL))
        if stop := self._asked_to_stop():  # the run makes up for this validation when it resumes
            self.save_and_stop(stop)
        if pictures:
            self._show_validation(stacked(pictures), name, tb_logger)
        self.images_measured[name], self.not_finite[name] = len(finite), finite.count(False)
        if self.is_train:
            self.report_validation(rows, name, tb_logger)
        elif rows and self.metrics:
            self._report_test(rows, name)
        if not self.is_train and len(self.images_measured) == len(self.opt["datasets"]):
            self._refuse_spoilt_images()

    dist_validation = nondist_validation

    def make_up_for_validation(self) -> None:
        """Validate now where that was due at this iteration and is not in the history."""
        if isinstance(self.val, TrainingValidation) and self.current_iter % self.val.val_freq == 0:
            for dataset_opt in self._validation_sets():
                loader = DataLoader(build_dataset(dataset_opt), batch_size=1)
                self.validation(loader, self.current_iter, None, self.val.save_img)

    def _validation_sets(self) -> list[dict[str, Any]]:
        """The options of the data sets to validate on."""
        datasets = self.opt["datasets"].items()
        return [opt for phase, opt in datasets if phase.split("_")[0] == "val"]

    def _asked_to_stop(self) -> int:
        """The signal by which any process of a training run was asked to stop, or 0."""
        if not self.is_train:
            return 0
        number = torch.tensor(self.stop_request.signal_number, device=self.device)
        return int(all_reduce_max(number))

    def restored_images(self, sample: Mapping[str, Any]) -> dict[str, Tensor]:
        """The images of a sample, (1, C, H, W) each.

        Returns:
            `input`, `restored` and, where there is one, `clean`.
        """
        self.feed_data(sample)
        try:
            self.test()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            size = "×".join(map(str, reversed(self.lq.shape[-2:])))
            name = sample["lq_path"][0]
            raise RunError(f"Memory ran out restoring {name}, {size} pixels.") from error
        # large ones need not stay, nor a `gt` be taken for the next one's
        names = {"lq": "input", "output": "restored", "gt": "clean"}
        there = {name: one for name, one in names.items() if hasattr(self, name)}
        return {label: self.__dict__.pop(name) for name, label in there.items()}

    # Pictures.

    def _save_pictures(
        self, one: Measured, dataset_name: str, current_iter: int | str, save_img: bool
    ) -> None:
        folder = Path(self.paths.visualization) / dataset_name
        in_training = f"{one.name}/{Path(one.name).name}_{current_iter}"
        stem = in_training if self.is_train else f"{one.name}_{self._suffix()}"
        if save_img:
            imwrite(one.pictures["restored"], str(folder / f"{stem}.png"))
        if self.val.save_comparison:
            imwrite(comparison(one.pictures), str(folder / f"{stem}_comparison.png"))

    def _show_validation(self, picture: Picture, dataset_name: str, tb_logger: Any) -> None:
        """Keep what a validation's first images look like, to watch the training by."""
        folder = Path(self.paths.visualization) / dataset_name
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"validation_{self.current_iter:06d}.jpg"
        save_bytes_atomically(encoded(picture, ".jpg"), file)
        if tb_logger:
            rgb = picture[..., ::-1]
            tag = f"validation/{dataset_name}"
            tb_logger.add_image(tag, rgb, self.current_iter, dataformats="HWC")

    # Images that were restored to NaN or infinite numbers.

    def all_spoilt(self) -> list[str]:
        """The data sets of whose images none was restored to finite numbers the last time."""
        measured = self.images_measured.items()
        return [name for name, images in measured if 0 < images == self.not_finite[name]]

    def _refuse_spoilt_images(self) -> None:
        """Do not end well where a test's restored images are not finite.

        Raises:
            RunError: there are such images; the message says how many, and whether the weights are
                to blame.
        """
        spoilt = [
            f"{count} of {self.images_measured[name]} images of {name}"
            for name, count in self.not_finite.items()
            if count
        ]
        if not spoilt:
            return
        reason = (
            "The weights are finite, so the network overflows; set val.amp: off, or take other "
            "weights."
        )
        if names := tensors_not_finite(self.get_bare_model(self.net_g)):
            reason = (
                f"The weights {self.report.weights} hold such numbers, in {listed(names, 3)}; take "
                "an earlier checkpoint."
            )
        raise RunError(f"{' and '.join(spoilt)} were restored to NaN or infinite numbers. {reason}")

    # Scores.

    def report_validation(self, rows: list[Row], dataset_name: str, tb_logger: Any) -> None:
        """Log a validation's means and keep the network if it is the best.

        The first process has the scores of each image; the others only note the validation.
        """
        logger = get_root_logger()
        means = means_of(rows) if rows and len(rows[0]) > 1 else {}
        for column, mean in means.items():
            if mean.remark():
                logger.warning(f"{dataset_name}, {column}: {mean.remark()}.")
        if dataset_name in self.all_spoilt():  # not noted: a resumed run finds out again
            logger.warning(f"{dataset_name}: no image was restored to finite numbers.")
            return
        of_input = [column for column in means if column.startswith(INPUT)]
        inputs = {column: float(means.pop(column)) for column in of_input}
        self.input_scores.setdefault(dataset_name, inputs)
        measured = {name: None if mean.not_finite else mean.value for name, mean in means.items()}
        self.history.add(dataset_name, self.current_iter, measured)
        if ranks()[1] != 0:
            return
        if means:
            self.metric_results = {column: float(mean) for column, mean in means.items()}
            self.best_metric_results = self.history.best(self.metrics)
            self._log_validation_metric_values(self.current_iter, dataset_name, tb_logger)
            best = self._deciding_best()
            decides = dataset_name == self._validation_sets()[0]["name"]
            if decides and best and best["iter"] == self.current_iter:
                self.save_networks("best")
        self.history.write()

    def _deciding_best(self) -> dict[str, Any] | None:
        """The best score so far, by the metric and on the data set that decide, if there is one."""
        if not self.best_metric_results:
            return None
        first = self._validation_sets()[0]["name"]
        best: dict[str, Any] = self.best_metric_results.get(first, {})
        return best.get(next(iter(self.metrics)))

    def best_in_words(self) -> str:
        """The best score so far that decides; empty where there is none yet."""
        best = self._deciding_best()
        return f"best {next(iter(self.metrics))} {best['val']:.2f}" if best else ""

    def _log_validation_metric_values(
        self, current_iter: int, dataset_name: str, tb_logger: Any
    ) -> None:
        """As BasicSR's, with the input's score and the gain.

        A metric that was never measured has no best value, and a class no input's score.
        """
        best, lines = self.best_metric_results[dataset_name], []
        for metric, value in self.metric_results.items():
            line = f"\t # {metric}: {value:.4f}"
            before = self.input_scores[dataset_name].get(f"{INPUT}{metric}")
            if before is not None:
                line += f"\tinput {before:.4f}, gain {value - before:+.4f}"
            if metric in best:
                line += f"\tBest: {best[metric]['val']:.4f} @ {best[metric]['iter']} iter"
            lines.append(line)
            if tb_logger:
                tb_logger.add_scalar(f"metrics/{dataset_name}/{metric}", value, current_iter)
        get_root_logger().info("\n".join([f"Validation {dataset_name}", *lines, ""]))

    def _report_test(self, scores: list[Row], dataset_name: str) -> None:
        """Log a data set's scores and write the table of all so far."""
        logger, folder = get_root_logger(), Path(self.paths.results_root)
        self.report.benchmarks[dataset_name] = Benchmark.of(scores, self.data_sets[dataset_name])
        self.report.write(folder)
        means = {column: float(mean) for column, mean in means_of(scores).items()}
        shown = scores if len(scores) <= IMAGES_SHOWN else []
        table = text_table([*shown, {"image": "mean", **means}], self.report.metrics)
        logger.info(f"{dataset_name}\n{table}")
        if len(self.report.benchmarks) == len(self.opt["datasets"]):
            files = f"{folder}/results.md, .json and .csv (every image)"
            logger.info(f"Results, also in {files}:\n{self.report.markdown()}")


def _labelled(one: Measured) -> dict[str, Picture]:
    """An image's pictures, the restored one under its first score as well."""
    pictures = dict(one.pictures)
    scores = [name for name in one.row if name != "image" and not name.startswith(INPUT)]
    if scores:
        label = f"restored {scores[0]} {one.row[scores[0]]:.2f}"
        pictures = {label if key == "restored" else key: value for key, value in pictures.items()}
    return pictures
