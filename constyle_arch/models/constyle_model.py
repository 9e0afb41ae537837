"""`ConStyleModel`: restoration training with ConStyle's contrast (arXiv 2402.15784, 3.2)."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor

from constyle_arch.archs.constyle_arch import Codes, ConStyle
from constyle_arch.archs.general_restoration_arch import GuidedNetwork
from constyle_arch.archs.layers import at_least_float32, pad_to_multiple
from constyle_arch.checkpoints.loading import fill, fitting_tensors, own_names
from constyle_arch.checkpoints.published_names import contrast_from_published
from constyle_arch.checkpoints.reading import read_checkpoint, read_state_dict, weights_in
from constyle_arch.distributed import broadcast
from constyle_arch.errors import OptionsError, RunError
from constyle_arch.losses.options import CONTRAST, RESTORATION
from constyle_arch.models.momentum_contrast import MomentumContrast, contrast_health
from constyle_arch.models.restoration_model import RestorationModel


@MODEL_REGISTRY.register()
class ConStyleModel(RestorationModel):
    """`RestorationModel` for networks guided by ConStyle.

    A step with the contrast on: update the momentum encoder, encode the clean images with it,
    restore, compute the losses, step, put the degraded images' codes into the queue. After
    `constyle_iter` iterations the encoder is frozen, with its BatchNorm statistics, the momentum
    encoder and the queue, and only the restoration losses stay.

    Its options are those of `RestorationModel`; `Train` and `Contrast` of `options.schema` have
    ConStyle's.
    """

    QUANTITIES: tuple[str, ...] = (*RESTORATION, *CONTRAST)

    def init_training_settings(self) -> None:
        """Build the contrast besides what restoration needs."""
        self._load_constyle()
        super().init_training_settings()
        options = self.train.contrast
        self.constyle_frozen = False
        self.positive_image = {"clean": "gt", "degraded": "lq_other"}[options.positive]
        own = options.model_dump(include={"queue_size", "momentum", "normalize"})
        self.contrast = MomentumContrast(self._network().encoder, **own).to(self.device)
        self._load_published_contrast()
        broadcast([self.contrast.queue])

    def _load_constyle(self) -> None:
        """Load ConStyle from a file of its own, if given; before the EMA network is copied."""
        load_path = self.paths.pretrain_network_constyle
        if load_path is not None:
            weights = encoder_weights(load_path)
            loaded = fill(self._network().encoder, weights, load_path)
            get_root_logger().info(f"ConStyle: {loaded} from {load_path}.")
            if not any(weights[f"projections.{number}.1.running_mean"].any() for number in (0, 1)):
                get_root_logger().warning(
                    f"{load_path}: the statistics of ConStyle's BatchNorm are those of a new "
                    "network, as in releases' averaged weights."
                )

    def _load_published_contrast(self) -> None:
        """Take over momentum encoder and queue from a release that has them."""
        load_path = self.paths.pretrain_network_g
        if load_path is None:
            return
        content = read_checkpoint(load_path)
        # averages have no queue
        key = self.paths.param_key_g or ("params" if "params" in content else None)
        if state := contrast_from_published(weights_in(content, load_path, key)):
            self._load_contrast(state, load_path, strict=False)
            if self.contrast.normalize:  # a release's codes are not
                self.contrast.queue.copy_(F.normalize(self.contrast.queue, dim=0))
            get_root_logger().info(f"Momentum encoder and queue are those of {load_path}.")

    def _load_contrast(self, state: Mapping[str, Tensor], source: str, strict: bool = True) -> None:
        wanted = self.contrast.queue.shape[1]
        if "queue" in state and (size := state["queue"].shape[1]) != wanted:
            raise OptionsError(
                f"{source} holds a queue of {size} codes and train.contrast.queue_size is "
                f"{wanted}; set it to {size}."
            )
        self.contrast.load_state_dict(state, strict=strict)

    def feed_data(self, data: Mapping[str, Any]) -> None:
        """Take the images of a batch, with `lq_other` where the data set gives it."""
        super().feed_data(data)
        if "lq_other" in data:
            self.lq_other = self.on_device(data["lq_other"])

    def optimize_parameters(self, current_iter: int) -> None:
        """One training step, with the contrast until `constyle_iter`."""
        if current_iter > self.train.constyle_iterations and not self.constyle_frozen:
            self._freeze_constyle()
        super().optimize_parameters(current_iter)

    def prepare_step(self) -> None:
        """As `RestorationModel`; then move the momentum encoder and take the step's negatives."""
        super().prepare_step()
        if not self.constyle_frozen:
            self.codes: list[Codes] = []
            self.positives: list[Tensor] = []
            self.contrast.update_encoder(self._network().encoder)
            self.negatives = self.contrast.negatives(len(self.lq))

    def finish_step(self, grad_norm: Tensor, skipped: Tensor) -> None:
        """As `RestorationModel`; then put the degraded images' or keys' codes into the queue."""
        super().finish_step(grad_norm, skipped)
        if self.constyle_frozen:
            return
        queries, keys = torch.cat([codes.c2 for codes in self.codes]), torch.cat(self.positives)
        if self.current_iter % self.opt["logger"]["print_freq"] == 0:
            self.measured |= contrast_health(queries, keys, self.contrast.queue)
        enters = {"query": queries, "key": keys}[self.train.contrast.enqueue]
        self.contrast.enqueue(enters, unless=skipped)

    def statistics(self) -> list[Tensor]:
        """`RestorationModel`'s, and those of the momentum encoder."""
        return [*super().statistics(), *self.contrast.encoder.buffers()]

    def changed_by_losses(self) -> list[Tensor]:
        """`RestorationModel`'s, and the momentum encoder, which moves before it is used."""
        return [*super().changed_by_losses(), *self.contrast.encoder.parameters()]

    def compute_losses(self, part: slice) -> dict[str, Tensor]:
        """Restore a part of the batch; return its losses, ConStyle's as long as it trains."""
        if self.constyle_frozen:
            return super().compute_losses(part)
        image = getattr(self, self.positive_image)[part]
        with self.acceleration.autocast(self.device):
            # as lq is padded
            positive = self.contrast.positive(pad_to_multiple(image, self._network().multiple))
            restored, codes = self.net_g(self.lq[part], return_codes=True)
        images = {"restored": at_least_float32(restored), "clean": self.gt[part]}
        return self.losses_of(**images, **self.contrasted(codes, positive, part))

    def contrasted(self, codes: Codes, positive: Tensor, part: slice) -> dict[str, Any]:
        """What losses take of the codes of a part of the batch, which are noted for the queue.

        Args:
            codes: of the degraded images, as the encoder gives them.
            positive: the prepared second codes of their positives, (N, 128).
            part: of the batch.
        """
        codes = self.contrast.prepared(codes)
        self.codes.append(Codes(*(code.detach() for code in codes)))
        self.positives.append(positive)
        return {
            "codes": codes,
            "query": codes.c2,
            "positive": positive,
            "negatives": Codes(*(code[part] for code in self.negatives)),
            "queue": self.contrast.queue,
        }

    def training_state(self) -> dict[str, Any]:
        """`RestorationModel`'s state with the momentum encoder and the queue."""
        return {**super().training_state(), "contrast": self.contrast.state_dict()}

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Resume from a state that `save_training_state` wrote."""
        if "contrast" not in resume_state:
            raise RunError(
                "The training state holds no momentum encoder and queue; another model_type wrote "
                "it."
            )
        self._load_contrast(resume_state["contrast"], "The training state")
        super().resume_training(resume_state)

    def set_train_mode(self) -> None:
        """Put the network back into training mode; a frozen encoder stays in evaluation mode."""
        super().set_train_mode()
        if self.constyle_frozen:
            self._network().encoder.eval()

    def _freeze_constyle(self) -> None:
        iterations = self.train.constyle_iterations
        get_root_logger().info(
            f"ConStyle is frozen: it trained train.constyle_iter {iterations} iterations."
        )
        self.constyle_frozen = True
        self._network().encoder.requires_grad_(False)
        if self.opt["dist"]:
            # DDP waits for every gradient it was built with
            self.net_g = self.model_to_device(self._network())
        self.set_train_mode()

    def _network(self) -> GuidedNetwork:
        return self.get_bare_model(self.net_g)


def encoder_weights(path: str) -> dict[str, Tensor]:
    """ConStyle's weights in the checkpoint of a prompter or of a network that ConStyle guides.

    Raises:
        CheckpointError: the file cannot be read, or holds no ConStyle.
    """
    weights = own_names(read_state_dict(path))
    guided = any(name.startswith("encoder.") for name in weights)
    prefix = "encoder." if guided else ""
    parts = tuple(f"{prefix}{part}." for part in ("stages", "projections"))
    found = {name: tensor for name, tensor in weights.items() if name.startswith(parts)}
    found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    with torch.device("meta"):
        fitting_tensors(ConStyle(), found, path)
    return found
