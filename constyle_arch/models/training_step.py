"""What a training step does: losses, gradients, the optimizer's step, EMA."""

from contextlib import nullcontext
from typing import Any

import torch
from basicsr.losses import build_loss
from basicsr.models.base_model import BaseModel
from basicsr.utils import get_root_logger
from torch import Tensor, nn

from constyle_arch.archs.layers import at_least_float32
from constyle_arch.distributed import all_reduce_max, broadcast, ranks
from constyle_arch.errors import RunError
from constyle_arch.inference.memory import is_out_of_memory
from constyle_arch.losses.options import RESTORATION, by_log_name, loss_options, taken_by
from constyle_arch.models.mixup import mixup
from constyle_arch.models.non_finite_steps import NonFiniteSteps, Snapshot
from constyle_arch.models.progressive_crops import ProgressiveCrops
from constyle_arch.training.interruption import StoppedRunError, StopRequest
from constyle_arch.training.progress_line import ProgressLine
from constyle_arch.training.running_means import RunningMeans


class TrainingStep(BaseModel):  # type: ignore[misc]  # BasicSR publishes no types
    """A BasicSR model whose steps are watched: one that is not finite changes nothing."""

    QUANTITIES: tuple[str, ...] = RESTORATION
    """What its losses may take, see `losses.options`."""

    lq: Tensor
    gt: Tensor

    def prepare_steps(self) -> None:
        """Build what steps need besides network and optimizer."""
        options = self.train
        self.stop_request = StopRequest()
        self.stop_request.listen()
        self.loss_scaler = self.acceleration.loss_scaler(self.device)
        self.non_finite = NonFiniteSteps(options.max_skipped_steps, self.device)
        self.means = RunningMeans()
        self.progress_line = ProgressLine(self.opt["name"], options.total_iter, ranks()[1])
        self.losses = self._built_losses()
        self.progressive_crops = ProgressiveCrops.from_options(self.opt)

    def _built_losses(self) -> dict[str, nn.Module]:
        """The losses of `train`, but for those that take what this model does not have."""
        losses = {}
        for option, loss_opt in loss_options(self.opt["train"]).items():
            loss = build_loss(loss_opt).to(self.device)
            lacking = [name for name in taken_by(loss) if name not in self.QUANTITIES]
            if lacking:
                has_no = f"{type(self).__name__} has no {', '.join(lacking)}"
                get_root_logger().warning(f"train.{option} is left out: {has_no}.")
            else:
                losses[option] = loss
        return losses

    def optimize_parameters(self, current_iter: int) -> None:
        """One training step: losses, gradients, optimizer, then EMA.

        A step whose loss or gradient is not finite changes nothing, on all processes alike; it is
        counted and logged.

        Raises:
            RunError: `train.max_skipped_steps` steps in a row were not finite, or memory ran out.
            StoppedRunError: the process was asked to stop; the run has been saved after this step.
        """
        self.current_iter = current_iter
        before = Snapshot(self.changed_by_losses())
        try:
            self.prepare_step()
            self.measured = self.accumulate_gradients()
        except RuntimeError as error:  # of torch, on whichever device
            raise self._explained(error) from error
        self.loss_scaler.unscale_(self.optimizer_g)
        gradients = (parameter.grad for parameter in self.net_g.parameters())
        grad_norm = nn.utils.get_total_norm([one for one in gradients if one is not None])
        losses = dict(self.measured)
        skipped, counted, asked_to_stop = self._flags(grad_norm)
        before.restore_if(skipped)
        self.finish_step(grad_norm, skipped)
        self.means.add(self.measured, skipped)
        self.non_finite.note(self.current_iter, torch.stack([counted, asked_to_stop]), losses)
        self.progress_line.advance(self.current_iter, losses, self.best_in_words())
        asked = self.non_finite.read()
        # alone there is no need to wait for the device
        stop = asked if ranks()[0] > 1 else self.stop_request.signal_number
        if stop:
            self.save_and_stop(int(stop))

    def prepare_step(self) -> None:
        """What comes before the losses: the period's crops, and mixup where that is asked for."""
        if self.progressive_crops is not None:
            self.lq, self.gt = self.progressive_crops.take([self.lq, self.gt], self.current_iter)
        mixing = self.train.mixing_augs
        if mixing.mixup:
            self.lq, self.gt = mixup(self.lq, self.gt, mixing.mixup_beta, mixing.use_identity)

    def accumulate_gradients(self) -> dict[str, Tensor]:
        """Compute the batch's gradients, in `train.accumulate` parts, and return its losses."""
        self.optimizer_g.zero_grad(set_to_none=True)
        net, parts = self.net_g, torch.arange(len(self.lq)).chunk(self.acceleration.accumulate)
        measured: dict[str, Tensor] = {}
        for number, rows in enumerate(parts, start=1):
            part, share = slice(int(rows[0]), int(rows[-1]) + 1), len(rows) / len(self.lq)
            # processes add up their gradients once for all parts of a batch
            waits = number < len(parts) and isinstance(net, nn.parallel.DistributedDataParallel)
            with net.no_sync() if waits else nullcontext():
                losses = {name: share * loss for name, loss in self.compute_losses(part).items()}
                total = torch.stack(list(losses.values())).sum()
                self.loss_scaler.scale(total).backward()
            for name, loss in losses.items():
                measured[name] = measured.get(name, 0) + loss.detach()
        return measured

    def compute_losses(self, part: slice) -> dict[str, Tensor]:
        """Restore a part of the batch and return its weighted losses, by their names in the log."""
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

    def statistics(self) -> list[Tensor]:
        """BatchNorm's statistics, which each process takes of its own images."""
        return list(self.get_bare_model(self.net_g).buffers())

    def changed_by_losses(self) -> list[Tensor]:
        """What computing the losses changes, which a skipped step must not."""
        return self.statistics()

    def _flags(self, grad_norm: Tensor) -> Tensor:
        """What all processes must know of a step, (3,), on the device.

        1 if it changes nothing; 1 if that is to be counted; the signal by which a process was
        asked to stop, or 0.
        """
        loss = torch.stack(list(self.measured.values())).sum()
        skipped = ~torch.isfinite(loss + grad_norm)
        # scaled gradients of fp16 overflow now and then, whereupon the scale is lowered
        scale = self.loss_scaler.scale(torch.ones_like(loss))
        counted = skipped & (~torch.isfinite(loss) | (scale <= 1))
        signal_number = torch.full_like(loss, self.stop_request.signal_number)
        flags = [skipped.to(loss.dtype), counted.to(loss.dtype), signal_number]
        return all_reduce_max(torch.stack(flags))

    def finish_step(self, grad_norm: Tensor, skipped: Tensor) -> None:
        """Clip the gradients, step, and let the EMA network follow.

        Args:
            grad_norm: L2 norm of all gradients, (), not scaled.
            skipped: 1 for a step that is to change nothing, else 0; (), on the device.
        """
        if self.train.grad_clip_norm is not None:
            self.measured["grad_norm"] = grad_norm
            most = self.train.grad_clip_norm
            nn.utils.clip_grads_with_norm_(self.net_g.parameters(), most, grad_norm)
        # a fused optimizer decides on the device
        if getattr(self.optimizer_g, "_step_supports_amp_scaling", False):
            self.optimizer_g.found_inf = skipped.float()
            self.optimizer_g.step()
        elif not skipped:
            self.optimizer_g.step()
        if self.loss_scaler.is_enabled():
            self.loss_scaler.update()
        broadcast(self.statistics())  # validation needs one network, whatever each process has seen
        if self.train.ema_decay > 0:
            self.model_ema(decay=self.train.ema_decay, unless=skipped)

    def get_current_log(self) -> dict[str, float]:
        """Means of the steps since the last line of the log, over all ranks; read here alone."""
        return self.reduce_loss_dict(self.means.read())

    def save_and_stop(self, signal_number: int) -> None:
        """Save the run after this step, and leave it.

        Raises:
            StoppedRunError: always.
        """
        self.progress_line.close()
        get_root_logger().info(f"Asked to stop after iteration {self.current_iter}.")
        self.save(0, self.current_iter)
        raise StoppedRunError(
            f"stopped after iteration {self.current_iter}, which is saved; --auto_resume resumes "
            "from there",
            signal_number,
        )

    def _explained(self, error: RuntimeError) -> Exception:
        """The error, or one that says what to lower where memory ran out."""
        if not is_out_of_memory(error):
            return error
        loader = self.opt["datasets"]["train"]
        return RunError(
            f"Memory ran out at iteration {self.current_iter}. Lower "
            f"datasets.train.batch_size_per_gpu ({loader.get('batch_size_per_gpu')}) or "
            f"datasets.train.gt_size ({loader.get('gt_size')})."
        )
