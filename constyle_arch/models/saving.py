"""Networks and training states: loading, saving and resuming."""

from pathlib import Path
from typing import Any

from basicsr.models.base_model import BaseModel
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only
from torch import nn

from constyle_arch.checkpoints.loading import fill, own_names
from constyle_arch.checkpoints.reading import read_checkpoint, section_of, weights_in
from constyle_arch.distributed import gathered_objects, ranks
from constyle_arch.errors import RunError
from constyle_arch.files import save_atomically
from constyle_arch.models.non_finite_steps import ADVICE
from constyle_arch.options.schema import Logger
from constyle_arch.training.experiments import remove_old_checkpoints
from constyle_arch.training.random_state import random_state, set_random_state
from constyle_arch.training.resuming import apply_changes, changes, fit_state, start_of


class Saving(BaseModel):  # type: ignore[misc]  # BasicSR publishes no types
    """A BasicSR model whose files are whole, and whose resumed run equals the uninterrupted one."""

    section_taken: str
    """The section of the checkpoint loaded last, in brackets; empty where it has none."""

    def load_network(
        self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = None
    ) -> None:
        """Fill `net` from a checkpoint of this package, of BasicSR or a published one.

        Args:
            net: the network, wrapped or not.
            load_path: the file.
            strict: every tensor must fit; otherwise those that do are loaded.
            param_key: the section of the file; None takes `params_ema`, `params` or `state_dict`,
                the first that is there.

        Raises:
            CheckpointError: the file cannot be read or does not fit; `net` is untouched then.
        """
        net = self.get_bare_model(net)
        content = read_checkpoint(load_path)
        weights = own_names(weights_in(content, load_path, param_key))
        loaded = fill(net, weights, load_path, strict)
        section = section_of(content, load_path, param_key)
        self.section_taken = f" [{section}]" if section else ""
        name = type(net).__name__
        get_root_logger().info(f"{name}: {loaded} from {load_path}{self.section_taken}.")

    def save(self, epoch: int, current_iter: int) -> None:
        """Write the networks and the training state of this iteration; -1 stands for the end.

        Steps that were not finite changed nothing, so this is what the last good step left.

        Raises:
            RunError: the run ended before `train.total_iter` iterations, it has diverged (what is
                written is whole then), or a file cannot be written.
        """
        ends, total_iter = current_iter == -1, self.train.total_iter
        if ends and self.current_iter < total_iter:
            raise RunError(
                f"The run ended after {self.current_iter} of train.total_iter {total_iter} "
                "iterations."
            )
        if ends:
            self.progress_line.close()
        self.non_finite.read(all_of_them=True)
        self.save_networks("latest" if ends else str(current_iter))
        self.save_training_state(epoch, current_iter)
        keep = Logger.read(self.opt["logger"]).keep_checkpoints
        if keep and ranks()[1] == 0 and not ends:
            remove_old_checkpoints(self.opt["path"], current_iter, keep)
        if ends:
            self._refuse_divergence()

    def _refuse_divergence(self) -> None:
        """Do not end well where a training has diverged.

        Raises:
            RunError: its last steps were not finite, or no image of a validation was restored to
                finite numbers.
        """
        steps = self.non_finite.in_a_row
        signs = [f"no image of {name} is restored to finite numbers" for name in self.all_spoilt()]
        if steps > 1:  # a single one may be a batch's fault
            signs.insert(0, f"its last {steps} steps were not finite")
        if signs:
            raise RunError(
                f"The training has diverged: {' and '.join(signs)}. What is saved is as iteration "
                f"{self.current_iter - steps} left it. {ADVICE}"
            )

    @master_only  # type: ignore[untyped-decorator]
    def save_networks(self, version: str) -> None:
        """Write the network, and the EMA network beside it, to `net_g_<version>.pth`."""
        nets = {"params": self.get_bare_model(self.net_g)}
        if hasattr(self, "net_g_ema"):
            nets["params_ema"] = self.net_g_ema
        weights = {
            key: {name: tensor.cpu().contiguous() for name, tensor in net.state_dict().items()}
            for key, net in nets.items()
        }
        save_atomically(weights, Path(self.paths.models) / f"net_g_{version}.pth")

    def save_training_state(self, epoch: int, current_iter: int) -> None:
        """Write what resuming needs besides the weights to `<iteration>.state`."""
        if current_iter == -1:
            return
        batches = start_of(self.opt).batches
        epoch = current_iter // batches if batches else epoch
        state = {"epoch": epoch, "iter": current_iter, **self.training_state()}
        if ranks()[1] == 0:
            folder = Path(self.paths.training_states)
            save_atomically(state, folder / f"{current_iter}.state")

    def training_state(self) -> dict[str, Any]:
        """What `resume_training` takes back."""
        return {
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "schedulers": [scheduler.state_dict() for scheduler in self.schedulers],
            "random": gathered_objects(random_state()),
            "loss_scaler": self.loss_scaler.state_dict(),
            "steps_not_finite_in_a_row": self.non_finite.in_a_row,
            "options": self.options_of_training,
            "images": start_of(self.opt).images,
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
        scaler = resume_state.get("loss_scaler") or self.loss_scaler.state_dict()
        self.loss_scaler.load_state_dict(scaler)
        self.non_finite.in_a_row = resume_state.get("steps_not_finite_in_a_row", 0)
        self.current_iter = resume_state["iter"]
        self.history.forget_after(self.current_iter)
        if "random" in resume_state:
            set_random_state(resume_state["random"][ranks()[1]])
        self.make_up_for_validation()
