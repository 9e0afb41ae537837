"""`RestorationModel`: trains and tests any network that maps a degraded image to a clean one of its size."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from basicsr.data import build_dataset
from basicsr.losses import build_loss
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger, imwrite
from basicsr.utils.dist_util import master_only
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn
from torch.utils.data import DataLoader

from constyle_arch.archs.layers import at_least_float32, channels_of
from constyle_arch.archs.local_statistics import local_window, use_local_statistics
from constyle_arch.checkpoints.loading import Window, fill, own_names, window_for_crops, window_of
from constyle_arch.checkpoints.reading import read_checkpoint, section_of, weights_in
from constyle_arch.checkpoints.trained import located
from constyle_arch.distributed import all_reduce_max, broadcast, gathered_objects, max_over_ranks, ranks
from constyle_arch.errors import RunError, listed
from constyle_arch.files import save_atomically, save_bytes_atomically
from constyle_arch.images import in_unit_range, to_gray
from constyle_arch.inference.memory import is_out_of_memory
from constyle_arch.inference.restoring import OVERLAP, restore, tensors_not_finite
from constyle_arch.losses.options import RESTORATION, by_log_name, loss_options, taken_by
from constyle_arch.models.acceleration import PRECISIONS, Acceleration
from constyle_arch.models.mixup import Mixup
from constyle_arch.models.non_finite_steps import ADVICE, NonFiniteSteps, Snapshot
from constyle_arch.models.optimization import Optimization
from constyle_arch.models.progressive_crops import ProgressiveCrops
from constyle_arch.reporting.complexity import count_gmacs, count_parameters
from constyle_arch.reporting.pictures import Picture, comparison, encoded, stacked
from constyle_arch.reporting.report import Report
from constyle_arch.reporting.scores import INPUT, Row, means_of, text_table
from constyle_arch.training.experiments import remove_old_checkpoints
from constyle_arch.training.interruption import StoppedRunError, StopRequest
from constyle_arch.training.metrics_history import MetricsHistory
from constyle_arch.training.progress_line import ProgressLine
from constyle_arch.training.random_state import random_state, random_state_kept, set_random_state
from constyle_arch.training.resuming import apply_changes, changes, fit_state, options_of_training
from constyle_arch.training.running_means import RunningMeans
from constyle_arch.training.validation import Measured, measure

Options = dict[str, Any]

MAX_SKIPPED_STEPS = 10

PICTURES, PANEL = 3, 320
"""Of how many images of a validation set pictures are kept, and the longest side of an image in them, in pixels."""

IMAGES_SHOWN = 24
"""A test prints the scores of each image for data sets of up to this many."""


@MODEL_REGISTRY.register()
class RestorationModel(Optimization, SRModel):  # type: ignore[misc]  # BasicSR publishes no types
    """BasicSR's `SRModel` for restoration: losses from YAML, mixup, clipping, EMA, best checkpoint, test report.

    Its options are described in `options.schema`: `Train`, `Validation`, `Paths` and `Logger`.
    """

    QUANTITIES: tuple[str, ...] = RESTORATION
    """What its losses may take, see `losses.options`."""

    net_g: nn.Module
    lq: Tensor
    gt: Tensor  # absent where a data set to test on has no clean images
    output: Tensor
    section_taken: str
    """The section of the checkpoint that was loaded last, in brackets; empty where it has none."""

    def __init__(self, opt: Options) -> None:
        self.current_iter = 0
        self.acceleration = Acceleration.from_options(opt.get("train") or {})
        self.stop_request = StopRequest()
        self.images_measured: dict[str, int] = {}
        self.not_finite: dict[str, int] = {}
        self.options_of_training = options_of_training(opt)  # as they are now: BasicSR takes some out in use
        opt["path"].setdefault("param_key_g", None)  # BasicSR would take `params`
        weights = opt["path"].get("pretrain_network_g")
        if weights and Path(weights).is_dir():  # of an experiment; what is logged and reported names the file
            opt["path"]["pretrain_network_g"] = str(located(weights))
        super().__init__(opt)
        self.use_windows((opt.get("val") or {}).get("tlc"))
        if not self.is_train:
            self.report = Report(
                name=opt["name"],
                network=opt["network_g"]["type"],
                weights=f"{opt['path']['pretrain_network_g']}{self.section_taken}",
                parameters=count_parameters(self.net_g),
                gmacs=count_gmacs(self.get_bare_model(self.net_g)),
                metrics=list(opt["val"].get("metrics") or {}),
                datasets={one["name"]: deepcopy(one) for one in opt["datasets"].values()},
                suffix=opt["val"].get("suffix") or opt["name"],
            )

    def init_training_settings(self) -> None:
        """Build what training needs besides the network: EMA, losses, optimizer, schedule."""
        train_opt = self.opt["train"]
        self.net_g.train()
        self.stop_request.listen()
        get_root_logger().info(f"Training computes on {self.device}: {self.acceleration}.")
        self.loss_scaler = self.acceleration.loss_scaler(self.device)
        self.non_finite = NonFiniteSteps(train_opt.get("max_skipped_steps", MAX_SKIPPED_STEPS), self.device)
        self.means = RunningMeans()
        self.input_scores: dict[str, dict[str, float]] = {}
        self.history = MetricsHistory(Path(self.opt["path"]["models"]))
        self.progress_line = ProgressLine(self.opt["name"], int(train_opt["total_iter"]), ranks()[1])
        self.ema_decay = train_opt.get("ema_decay", 0)
        if self.ema_decay > 0:
            self.net_g_ema = deepcopy(self.get_bare_model(self.net_g)).requires_grad_(False).eval()
            load_path = self.opt["path"].get("pretrain_network_g")
            if load_path is not None and "params_ema" in read_checkpoint(load_path):
                self.load_network(self.net_g_ema, load_path, self.opt["path"].get("strict_load_g", True), "params_ema")
        self.losses = self._built_losses()
        mixing = dict(train_opt.get("mixing_augs") or {})
        mixes = mixing.pop("mixup", False)
        self.mixup = Mixup(**mixing) if mixes else None
        self.grad_clip_norm = train_opt.get("grad_clip_norm")
        self.progressive_crops = ProgressiveCrops.from_options(self.opt)
        self.setup_optimizers()
        self.setup_schedulers()

    def use_windows(self, tlc: Window) -> None:
        """Restore with the windows that `val.tlc` says; training, not in evaluation mode, goes without."""
        if self.is_train:
            window = window_for_crops(self.opt) if tlc == "auto" else tlc or None
        else:
            window = window_of(located(self.opt["path"]["pretrain_network_g"]), tlc)
        if not window:
            return
        with torch.compiler.set_stance("force_eager"):
            for net in filter(None, (self.net_g, getattr(self, "net_g_ema", None))):
                use_local_statistics(self.get_bare_model(net), window)
        if local_window(self.get_bare_model(self.net_g)):
            get_root_logger().info(f"Images are restored with the statistics of windows of {window} pixels.")

    def _built_losses(self) -> dict[str, nn.Module]:
        """The losses of `train`, but for those that take what this model does not have."""
        losses = {}
        for option, loss_opt in loss_options(self.opt["train"]).items():
            loss = build_loss(loss_opt).to(self.device)
            if set(self.QUANTITIES) >= set(taken_by(loss)):
                losses[option] = loss
            else:
                lacking = ", ".join(name for name in taken_by(loss) if name not in self.QUANTITIES)
                get_root_logger().warning(f"train.{option} is left out: {type(self).__name__} has no {lacking}.")
        return losses

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """Lay out, perhaps compile, move and perhaps wrap the network."""
        if self.is_train:
            self.acceleration.prepare(net)
        return super().model_to_device(net)

    def print_network(self, net: nn.Module) -> None:
        """Log the network's name and number of parameters."""
        name = type(self.get_bare_model(net)).__name__
        get_root_logger().info(f"Network: {name}, with parameters: {count_parameters(net):,d}")

    def load_network(self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = None) -> None:
        """Fill `net` from a checkpoint of this package, of BasicSR or a published one; see `checkpoints.loading`.

        Args:
            net: the network, wrapped or not.
            load_path: the file.
            strict: every tensor must fit; otherwise those that do are loaded.
            param_key: the section of the file; None takes `params_ema`, `params` or `state_dict`,
                the first that is there, as `load_network` does.

        Raises:
            CheckpointError: the file cannot be read or does not fit; `net` is untouched then.
        """
        net = self.get_bare_model(net)
        content = read_checkpoint(load_path)
        weights = own_names(weights_in(content, load_path, param_key))
        loaded = fill(net, weights, load_path, strict)
        section = section_of(content, load_path, param_key)
        self.section_taken = f" [{section}]" if section else ""
        get_root_logger().info(f"{type(net).__name__}: {loaded} from {load_path}{self.section_taken}.")

    def feed_data(self, data: Mapping[str, Any]) -> None:
        """Take the images of a batch: `lq`, and `gt` where there is one, (N, 3, H, W); in [0, 1], or of 8 bits."""
        self.lq = self.on_device(data["lq"])
        if "gt" in data:
            self.gt = self.on_device(data["gt"])

    def on_device(self, images: Tensor) -> Tensor:
        """`images` on the run's device, in [0, 1], gray for a network of one channel; 8 bits travel as they are."""
        images = in_unit_range(images.to(self.device, non_blocking=True))
        return to_gray(images) if channels_of(self.get_bare_model(self.net_g)) == 1 else images

    def optimize_parameters(self, current_iter: int) -> None:
        """One training step: losses, gradients, optimizer, then EMA.

        A step whose loss or gradient is not finite changes nothing, on all processes alike; it is counted and logged.

        Raises:
            RunError: `train.max_skipped_steps` steps in a row were not finite, or memory ran out.
            StoppedRunError: the process was asked to stop; the run has been saved after this step.
        """
        self.current_iter = current_iter
        if self.progressive_crops is not None:
            self.lq, self.gt = self.progressive_crops.take([self.lq, self.gt], current_iter)
        before = Snapshot(self.changed_by_losses())
        try:
            self.prepare_step()
            self.measured = self.accumulate_gradients()
        except RuntimeError as error:  # of torch, on whichever device
            raise self._explained(error) from error
        self.loss_scaler.unscale_(self.optimizer_g)
        grad_norm = nn.utils.get_total_norm(
            [parameter.grad for parameter in self.net_g.parameters() if parameter.grad is not None]
        )
        losses = dict(self.measured)
        skipped, counted, asked_to_stop = self._flags(grad_norm)
        before.restore_if(skipped)
        self.finish_step(grad_norm, skipped)
        self.means.add(self.measured, skipped)
        self.non_finite.note(self.current_iter, torch.stack([counted, asked_to_stop]), losses)
        self.progress_line.advance(self.current_iter, losses, self._best_in_words())
        asked = self.non_finite.read()
        stop = asked if ranks()[0] > 1 else self.stop_request.signal_number  # alone there is no need to wait
        if stop:
            self._save_and_stop(int(stop))

    def _best_in_words(self) -> str:
        """The best score so far, by the metric and on the data set that decide; empty where there is none yet."""
        metric = next(iter((self.opt.get("val") or {}).get("metrics") or ()), "")
        best = getattr(self, "best_metric_results", {}).get(metric and self._validation_sets()[0]["name"], {})
        return f"best {metric} {best[metric]['val']:.2f}" if metric in best else ""

    def _flags(self, grad_norm: Tensor) -> Tensor:
        """What all processes must know of a step, (3,), on the device.

        1 if it changes nothing; 1 if that is to be counted; the signal by which a process was asked to stop, or 0.
        """
        loss = torch.stack(list(self.measured.values())).sum()
        skipped = ~torch.isfinite(loss + grad_norm)
        # scaled gradients of fp16 overflow now and then, whereupon the scale is lowered
        scale = self.loss_scaler.scale(torch.ones_like(loss))
        counted = skipped & (~torch.isfinite(loss) | (scale <= 1))
        signal_number = torch.full_like(loss, self.stop_request.signal_number)
        return all_reduce_max(torch.stack([skipped.to(loss.dtype), counted.to(loss.dtype), signal_number]))

    def accumulate_gradients(self) -> dict[str, Tensor]:
        """Compute the batch's gradients, in as many parts as `train.accumulate` says, and return its losses."""
        self.optimizer_g.zero_grad(set_to_none=True)
        parts = torch.arange(len(self.lq)).chunk(self.acceleration.accumulate)
        measured: dict[str, Tensor] = {}
        for number, rows in enumerate(parts, start=1):
            part, share = slice(int(rows[0]), int(rows[-1]) + 1), len(rows) / len(self.lq)
            with self._without_exchange() if number < len(parts) else nullcontext():
                losses = {name: share * loss for name, loss in self.compute_losses(part).items()}
                total = torch.stack(list(losses.values())).sum()
                self.loss_scaler.scale(total).backward()  # type: ignore[no-untyped-call]
            for name, loss in losses.items():
                measured[name] = measured.get(name, 0) + loss.detach()
        return measured

    def _without_exchange(self) -> AbstractContextManager[Any]:
        """Processes add up their gradients once for all parts of a batch."""
        net = self.net_g
        return net.no_sync() if isinstance(net, nn.parallel.DistributedDataParallel) else nullcontext()

    def prepare_step(self) -> None:
        """What comes before the losses: mix the batch up where that is asked for."""
        if self.mixup:
            self.lq, self.gt = self.mixup(self.lq, self.gt)

    def statistics(self) -> list[Tensor]:
        """BatchNorm's statistics, which each process takes of its own images."""
        return list(self.get_bare_model(self.net_g).buffers())

    def changed_by_losses(self) -> list[Tensor]:
        """What computing the losses changes, which a skipped step must not."""
        return self.statistics()

    def finish_step(self, grad_norm: Tensor, skipped: Tensor) -> None:
        """Clip the gradients, step, and let the EMA network follow; nothing of it if `skipped` is 1 instead of 0."""
        if self.grad_clip_norm is not None:
            self.measured["grad_norm"] = grad_norm
            nn.utils.clip_grads_with_norm_(self.net_g.parameters(), self.grad_clip_norm, grad_norm)
        if getattr(self.optimizer_g, "_step_supports_amp_scaling", False):  # it is fused and decides on the device
            self.optimizer_g.found_inf = skipped.float()
            self.optimizer_g.step()
        elif not skipped:
            self.optimizer_g.step()
        if self.loss_scaler.is_enabled():
            self.loss_scaler.update()
        broadcast(self.statistics())  # each process has seen its own images; validation needs one network
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay, unless=skipped)

    def _explained(self, error: RuntimeError) -> Exception:
        """The error, or one that says what to lower where memory ran out."""
        if not is_out_of_memory(error):
            return error
        train_opt = self.opt["datasets"]["train"]
        return RunError(
            f"Memory ran out at iteration {self.current_iter}. Lower datasets.train.batch_size_per_gpu "
            f"({train_opt.get('batch_size_per_gpu')}) or datasets.train.gt_size ({train_opt.get('gt_size')})."
        )

    def _save_and_stop(self, signal_number: int) -> None:
        self.progress_line.close()
        get_root_logger().info(f"Asked to stop after iteration {self.current_iter}.")
        self.save(0, self.current_iter)
        raise StoppedRunError(
            f"stopped after iteration {self.current_iter}, which is saved; --auto_resume resumes from there",
            signal_number,
        )

    def compute_losses(self, part: slice) -> dict[str, Tensor]:
        """Restore a part of the batch and return the weighted losses to add up, by their names in the log."""
        with self.acceleration.autocast(self.device):
            restored = self.net_g(self.lq[part])
        return self.losses_of(restored=at_least_float32(restored), clean=self.gt[part])

    def losses_of(self, **quantities: Any) -> dict[str, Tensor]:
        """The losses that can be computed of some quantities, by their names in the log.

        Args:
            **quantities: by the names that losses take, see `losses.options`.
        """
        losses: dict[str, Tensor] = {}
        for option, loss in self.losses.items():
            taken = taken_by(loss)
            if quantities.keys() >= set(taken):
                losses |= by_log_name(option, loss(*(quantities[name] for name in taken)))
        return losses

    def get_current_log(self) -> dict[str, float]:
        """Means of the steps since the last line of the log, over all ranks; here they are read from the device."""
        return self.reduce_loss_dict(self.means.read())

    def test(self) -> None:
        """Restore the images fed last, with the EMA network where there is one."""
        net = self.net_g_ema if hasattr(self, "net_g_ema") else self.get_bare_model(self.net_g)
        was_training = net.training
        val_opt = self.opt.get("val") or {}
        precision = PRECISIONS[val_opt.get("amp") or "off"] or torch.float32
        with torch.compiler.set_stance("force_eager"):
            self.output = restore(
                net,
                self.lq,
                tile=val_opt.get("tile"),
                overlap=val_opt.get("tile_overlap", OVERLAP),
                precision=precision,
            )
        if was_training and self.is_train:
            self.set_train_mode()

    def set_train_mode(self) -> None:
        """Put the network back into training mode after a validation."""
        self.net_g.train()

    def nondist_validation(
        self,
        dataloader: DataLoader[Any],
        current_iter: int | str,
        tb_logger: Any,
        save_img: bool,
    ) -> None:
        """Restore every image of a data set, score it at its original size and log the means.

        In training the best network by the first metric of the first data set is kept as `net_g_best.pth`. In a
        test the table of all data sets is written, see `reporting.report`. The input is scored as well; in training,
        where it stays what it is, once.
        """
        dataset_name = dataloader.dataset.opt["name"]  # type: ignore[attr-defined]
        if self.is_train:
            current_iter = self.current_iter
            if self.history.has(dataset_name, self.current_iter):
                return  # the runner validates once more after the last iteration
        metrics = self.opt["val"].get("metrics") or {}
        images = range(len(dataloader.dataset))  # type: ignore[arg-type]  # it has a length
        count = self.opt["val"].get("pictures", PICTURES) if self.is_train else 0
        shown = images[:: -(-len(images) // count)] if count else images[:0]
        saves_every = save_img or self.opt["val"].get("save_comparison", False)
        rows: list[Row] = []
        finite: list[bool] = []
        pictures: list[Picture] = []
        with random_state_kept():  # a resumed run may have this validation behind it
            for one in measure(
                self.restored_images,
                dataloader,
                metrics,
                score_input=not self.is_train or dataset_name not in self.input_scores,
                pictures_of=images if saves_every else shown,
                progress=self.opt["val"].get("pbar", False),
                until=self._asked_to_stop,
            ):
                rows.append(one.row)
                finite.append(one.finite)
                if one.pictures and saves_every:
                    self._save_pictures(one.pictures, dataset_name, one.name, current_iter, save_img)
                if one.pictures and len(rows) - 1 in shown:
                    pictures.append(comparison(_labelled(one), panel=PANEL))
        if stop := self._asked_to_stop():  # the run makes up for this validation when it resumes
            self._save_and_stop(stop)
        if pictures:
            self._show_validation(stacked(pictures), dataset_name, tb_logger)
        self.images_measured[dataset_name] = len(finite)
        self.not_finite[dataset_name] = finite.count(False)
        if self.is_train:
            self._report_validation(rows, dataset_name, tb_logger)
        elif rows and metrics:
            self._report_test(rows, dataset_name)
        if not self.is_train and len(self.images_measured) == len(self.opt["datasets"]):
            self._refuse_spoilt_images()

    dist_validation = nondist_validation

    def _asked_to_stop(self) -> int:
        """The signal by which any process of a training run was asked to stop, or 0."""
        return int(max_over_ranks([self.stop_request.signal_number], self.device)[0]) if self.is_train else 0

    def restored_images(self, sample: Mapping[str, Any]) -> dict[str, Tensor]:
        """The images of a sample, (1, C, H, W) each: `input`, `restored` and, where there is one, `clean`."""
        self.feed_data(sample)
        try:
            self.test()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            size = "×".join(map(str, reversed(self.lq.shape[-2:])))
            raise RunError(f"Memory ran out restoring {sample['lq_path'][0]}, {size} pixels.") from error
        images = self.current_images()
        self.forget_images()
        return images

    def forget_images(self) -> None:
        """Let go of the images of the last test: large ones need not stay, nor a `gt` be taken for the next one's."""
        for attribute in ("lq", "gt", "output"):
            self.__dict__.pop(attribute, None)

    def current_images(self) -> dict[str, Tensor]:
        """The images of the last test: `input`, `restored` and, where there is one, `clean`."""
        images = {"input": self.lq, "restored": self.output}
        return {**images, "clean": self.gt} if hasattr(self, "gt") else images

    def _save_pictures(
        self, images: Mapping[str, Any], dataset_name: str, name: str, current_iter: int | str, save_img: bool
    ) -> None:
        folder = Path(self.opt["path"]["visualization"]) / dataset_name
        if self.is_train:
            stem = f"{name}/{Path(name).name}_{current_iter}"
        else:
            stem = f"{name}_{self.opt['val'].get('suffix') or self.opt['name']}"
        if save_img:
            imwrite(images["restored"], str(folder / f"{stem}.png"))
        if self.opt["val"].get("save_comparison", False):
            imwrite(comparison(images), str(folder / f"{stem}_comparison.png"))

    def _show_validation(self, picture: Picture, dataset_name: str, tb_logger: Any) -> None:
        """Keep what a validation's first images look like, to watch the training by."""
        folder = Path(self.opt["path"]["visualization"]) / dataset_name
        folder.mkdir(parents=True, exist_ok=True)
        save_bytes_atomically(encoded(picture, ".jpg"), folder / f"validation_{self.current_iter:06d}.jpg")
        if tb_logger:
            tb_logger.add_image(f"validation/{dataset_name}", picture[..., ::-1], self.current_iter, dataformats="HWC")

    def _all_spoilt(self) -> list[str]:
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
        reason = "The weights are finite, so the network overflows; set val.amp: off, or take other weights."
        if names := tensors_not_finite(self.get_bare_model(self.net_g)):
            weights = f"{self.opt['path']['pretrain_network_g']}{self.section_taken}"
            reason = f"The weights {weights} hold such numbers, in {listed(names, 3)}; take an earlier checkpoint."
        raise RunError(f"{' and '.join(spoilt)} were restored to NaN or infinite numbers. {reason}")

    def _report_validation(self, rows: list[Row], dataset_name: str, tb_logger: Any) -> None:
        """Log a validation's means and keep the network if it is the best; processes but the first only note it."""
        means = means_of(rows) if rows and len(rows[0]) > 1 else {}
        for column, mean in means.items():
            if mean.remark():
                get_root_logger().warning(f"{dataset_name}, {column}: {mean.remark()}.")
        if dataset_name in self._all_spoilt():  # not noted: a resumed run finds out again
            get_root_logger().warning(f"{dataset_name}: no image was restored to finite numbers.")
            return
        inputs = {column: float(means.pop(column)) for column in list(means) if column.startswith(INPUT)}
        self.input_scores.setdefault(dataset_name, inputs)
        measured = {column: None if mean.not_finite else mean.value for column, mean in means.items()}
        self.history.add(dataset_name, self.current_iter, measured)
        if ranks()[1] != 0:
            return
        if means:
            self.metric_results = {column: float(mean) for column, mean in means.items()}
            self.best_metric_results = self.history.best(self.opt["val"]["metrics"])
            self._log_validation_metric_values(self.current_iter, dataset_name, tb_logger)
            self._keep_best_network(dataset_name)
        self.history.write()

    def _log_validation_metric_values(self, current_iter: int, dataset_name: str, tb_logger: Any) -> None:
        """As BasicSR's, with the input's score and the gain; a metric that was never measured has no best value."""
        best, lines = self.best_metric_results[dataset_name], []
        for metric, value in self.metric_results.items():
            line = f"\t # {metric}: {value:.4f}"
            before = self.input_scores[dataset_name].get(f"{INPUT}{metric}")
            if before is not None:  # a class has no input's score
                line += f"\tinput {before:.4f}, gain {value - before:+.4f}"
            if metric in best:
                line += f"\tBest: {best[metric]['val']:.4f} @ {best[metric]['iter']} iter"
            lines.append(line)
        get_root_logger().info("\n".join([f"Validation {dataset_name}", *lines, ""]))
        for metric, value in self.metric_results.items() if tb_logger else ():
            tb_logger.add_scalar(f"metrics/{dataset_name}/{metric}", value, current_iter)

    def _report_test(self, scores: list[Row], dataset_name: str) -> None:
        """Log a data set's scores and write the table of all so far."""
        logger, folder = get_root_logger(), Path(self.opt["path"]["results_root"])
        self.report.benchmarks[dataset_name] = scores
        self.report.write(folder)
        means = {column: float(mean) for column, mean in means_of(scores).items()}
        shown = scores if len(scores) <= IMAGES_SHOWN else []
        logger.info(f"{dataset_name}\n{text_table([*shown, {'image': 'mean', **means}], self.report.metrics)}")
        if len(self.report.benchmarks) == len(self.opt["datasets"]):
            logger.info(
                f"Results, also in {folder}/results.md, .json and .csv (every image):\n{self.report.markdown()}"
            )

    def _validation_sets(self) -> list[Options]:
        """The options of the data sets to validate on."""
        return [opt for phase, opt in self.opt["datasets"].items() if phase.split("_")[0] == "val"]

    def _keep_best_network(self, dataset_name: str) -> None:
        first_dataset = self._validation_sets()[0]["name"]
        first_metric = next(iter(self.opt["val"]["metrics"]))
        best = self.best_metric_results[dataset_name].get(first_metric)
        if dataset_name == first_dataset and best and best["iter"] == self.current_iter:
            self._save_networks("best")

    def save(self, epoch: int, current_iter: int) -> None:
        """Write the networks and the training state of this iteration; -1 stands for the end of the run.

        Steps that were not finite changed nothing, so this is what the last good step left.

        Raises:
            RunError: the run ended before `train.total_iter` iterations, it has diverged (what is
                written is whole then), or a file cannot be written.
        """
        total_iter = int(self.opt["train"]["total_iter"])
        if current_iter == -1 and self.current_iter < total_iter:
            raise RunError(f"The run ended after {self.current_iter} of train.total_iter {total_iter} iterations.")
        if current_iter == -1:
            self.progress_line.close()
        self.non_finite.read(all_of_them=True)
        self._save_networks("latest" if current_iter == -1 else str(current_iter))
        self.save_training_state(epoch, current_iter)
        keep = self.opt["logger"].get("keep_checkpoints")
        if keep and ranks()[1] == 0 and current_iter != -1:
            remove_old_checkpoints(self.opt["path"], current_iter, keep)
        if current_iter == -1:
            self._refuse_divergence()

    def _refuse_divergence(self) -> None:
        """Do not end well where a training has diverged.

        Raises:
            RunError: its last steps were not finite, or no image of a validation was restored to
                finite numbers.
        """
        steps = self.non_finite.in_a_row
        signs = [f"no image of {name} is restored to finite numbers" for name in self._all_spoilt()]
        if steps > 1:  # a single one may be a batch's fault
            signs.insert(0, f"its last {steps} steps were not finite")
        if signs:
            raise RunError(
                f"The training has diverged: {' and '.join(signs)}. "
                f"What is saved is as iteration {self.current_iter - steps} left it. {ADVICE}"
            )

    def _save_networks(self, version: str) -> None:
        if hasattr(self, "net_g_ema"):
            self.save_network([self.net_g, self.net_g_ema], "net_g", version, param_key=["params", "params_ema"])
        else:
            self.save_network([self.net_g], "net_g", version, param_key=["params"])

    @master_only  # type: ignore[untyped-decorator]
    def save_network(self, nets: list[nn.Module], label: str, version: str, param_key: list[str]) -> None:
        """Write the weights of `nets` under their `param_key` to `<label>_<version>.pth`."""
        weights = {
            key: {name: tensor.cpu().contiguous() for name, tensor in self.get_bare_model(net).state_dict().items()}
            for key, net in zip(param_key, nets, strict=True)
        }
        save_atomically(weights, Path(self.opt["path"]["models"]) / f"{label}_{version}.pth")

    def save_training_state(self, epoch: int, current_iter: int) -> None:
        """Write what resuming needs besides the weights to `<iteration>.state`."""
        if current_iter == -1:
            return
        batches = self.opt.get("iterations_per_epoch")
        state = {"epoch": current_iter // batches if batches else epoch, "iter": current_iter, **self.training_state()}
        if ranks()[1] == 0:
            save_atomically(state, Path(self.opt["path"]["training_states"]) / f"{current_iter}.state")

    def training_state(self) -> dict[str, Any]:
        """What `resume_training` takes back."""
        return {
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "schedulers": [scheduler.state_dict() for scheduler in self.schedulers],
            "random": gathered_objects(random_state()),
            "loss_scaler": self.loss_scaler.state_dict(),
            "steps_not_finite_in_a_row": self.non_finite.in_a_row,
            "options": self.options_of_training,
            "images": self.opt.get("train_images"),
        }

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Resume from a state that `save_training_state` wrote, with the options of now.

        A validation that was due at the state's iteration and is not in the history is made up for.
        """
        changed = changes(resume_state.get("options", {}), self.options_of_training)
        built = [dict(scheduler.state_dict()) for scheduler in self.schedulers]
        super().resume_training(resume_state)
        for optimizer in self.optimizers:
            fit_state(optimizer)
        apply_changes(changed, self.opt["train"], self.optimizers, self.schedulers, built)
        self.loss_scaler.load_state_dict(resume_state.get("loss_scaler", {}) or self.loss_scaler.state_dict())
        self.non_finite.in_a_row = resume_state.get("steps_not_finite_in_a_row", 0)
        self.current_iter = resume_state["iter"]
        self.history.forget_after(self.current_iter)
        if "random" in resume_state:
            set_random_state(resume_state["random"][ranks()[1]])
        if self.opt.get("val") and self.current_iter % int(self.opt["val"]["val_freq"]) == 0:
            for dataset_opt in self._validation_sets():
                loader = DataLoader(build_dataset(dataset_opt), batch_size=1)
                self.validation(loader, self.current_iter, None, self.opt["val"]["save_img"])


def _labelled(one: Measured) -> dict[str, Picture]:
    """An image's pictures, the restored one under its first score as well."""
    scores = [name for name in one.row if name != "image" and not name.startswith(INPUT)]
    score = f" {scores[0]} {one.row[scores[0]]:.2f}" if scores else ""
    return {f"{label}{score if label == 'restored' else ''}": picture for label, picture in one.pictures.items()}
