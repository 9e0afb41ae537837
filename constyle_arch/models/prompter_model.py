"""`PrompterModel`: ConStyle v2's first stage (arXiv 2406.18242), which trains the encoder."""

from collections.abc import Mapping
from typing import Any

import torch
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor
from torch.utils.data import DataLoader

from constyle_arch.archs.layers import at_least_float32
from constyle_arch.archs.prompter_arch import Prompt
from constyle_arch.distributed import gathered_objects, ranks
from constyle_arch.errors import DataError, OptionsError
from constyle_arch.losses.options import CONTRAST
from constyle_arch.models.constyle_model import ConStyleModel
from constyle_arch.reporting.scores import Row
from constyle_arch.training.random_state import random_state_kept

METRICS = {"top1": 1, "top5": 5}
"""Share of the degraded images, in percent, whose class is among so many of highest score."""


@MODEL_REGISTRY.register()
class PrompterModel(ConStyleModel):
    """Trains a `Prompter`: ConStyle's contrast, and the classes of degraded images.

    A batch holds `lq`, `gt` and `class`, as `ClassifiedImageDataset` gives them; of a
    `MixedDataset` the class is the number of the sample's set. The momentum encoder classifies the
    clean images. Validations measure `top1` and `top5`, in percent; `val.metrics` is not read. To
    test, train a network that ConStyle guides.

    Options under `train`, besides those of `ConStyleModel`:
        class_iter: iterations in which losses see the classes. Default: 50 000.
        kl_iter: iterations in which losses see the clean images' scores. Default: 999 999.
        Any loss may take `scores`, those of the degraded images, `classes` and `clean_scores`; see
        `losses.prompter_loss`.
    """

    QUANTITIES: tuple[str, ...] = (*CONTRAST, "scores", "classes", "clean_scores")

    def prepare_validations(self, opt: Mapping[str, Any]) -> None:
        """As `ConStyleModel`, with metrics of its own."""
        super().prepare_validations(opt)
        self.metrics = {name: {"better": "higher"} for name in METRICS}

    def feed_data(self, data: Mapping[str, Any]) -> None:
        """Take a batch with its classes.

        Raises:
            DataError: the data set gives no classes.
            OptionsError: there are more classes than `network_g.num_classes`.
        """
        super().feed_data(data)
        known = self.get_bare_model(self.net_g).num_classes
        if int(_class_of(data).max()) >= known:
            raise OptionsError(
                f"network_g.num_classes is {known} and the images have more classes; raise it."
            )
        self.classes: Tensor = data["class"].to(self.device, non_blocking=True)

    def compute_losses(self, part: slice) -> dict[str, Tensor]:
        """Encode and classify a part of the batch; return its losses."""
        with self.acceleration.autocast(self.device):
            with torch.no_grad():
                clean: Prompt = self.contrast.encoder(self.gt[part])
            prompt: Prompt = self.net_g(self.lq[part])
        positive = self.contrast.prepared(clean.codes).c2
        quantities = self.contrasted(prompt.codes, positive, part)
        quantities["scores"] = at_least_float32(prompt.scores)
        if self.current_iter <= self.train.class_iter:
            quantities["classes"] = self.classes[part]
        if self.current_iter <= self.train.kl_iter:
            quantities["clean_scores"] = at_least_float32(clean.scores)
        return self.losses_of(**quantities)

    @torch.no_grad()
    def nondist_validation(
        self, dataloader: DataLoader[Any], current_iter: int | str, tb_logger: Any, save_img: bool
    ) -> None:
        """Classify the degraded images of a data set, shared out among the processes."""
        del current_iter, save_img
        dataset: Any = dataloader.dataset
        world_size, rank = ranks()
        name = dataset.opt["name"]
        if self.history.has(name, self.current_iter):
            return  # the runner validates once more after the last iteration
        network = self.restoring_network.eval()
        rows: list[Row] = []
        with random_state_kept():
            for index in range(rank, len(dataset), world_size):
                sample = dataset[index]
                scores = network(self.on_device(sample["lq"])[None]).scores[0]
                best = scores.topk(min(max(METRICS.values()), len(scores))).indices.tolist()
                own, counts = _class_of(sample), METRICS.items()
                found = {metric: 100.0 * (own in best[:count]) for metric, count in counts}
                rows.append({"image": sample["name"], **found})
        self.set_train_mode()
        rows = [row for share in gathered_objects(rows) for row in share]
        self.images_measured[name], self.not_finite[name] = len(rows), 0
        self.report_validation(rows, name, tb_logger)

    dist_validation = nondist_validation


def _class_of(data: Mapping[str, Any]) -> Any:
    if "class" not in data:
        raise DataError(
            "The data set gives no classes; PrompterModel needs a ClassifiedImageDataset."
        )
    return data["class"]
