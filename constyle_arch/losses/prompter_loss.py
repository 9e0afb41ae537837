"""The losses of ConStyle v2's first stage (arXiv 2406.18242) besides ConStyle's: of the classes.

Scores are (B, classes), before the softmax; classes are (B,), whole numbers.
"""

import torch.nn.functional as F
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor

from constyle_arch.losses.weighted_loss import WeightedLoss


@LOSS_REGISTRY.register()
class ClassLoss(WeightedLoss):
    """Cross entropy of the degraded images' classes."""

    TAKES = ("scores", "classes")

    def forward(self, scores: Tensor, classes: Tensor) -> Tensor:
        """The loss of `scores` (B, classes) where `classes` (B,) are right."""
        return self.loss_weight * F.cross_entropy(scores, classes)


@LOSS_REGISTRY.register()
class ClassDistanceLoss(WeightedLoss):
    """KL(softmax of the clean images' scores ‖ softmax of the degraded ones'), batch mean."""

    TAKES = ("scores", "clean_scores")

    def forward(self, scores: Tensor, clean_scores: Tensor) -> Tensor:
        """The loss of `scores` with `clean_scores`, (B, classes), which get no gradient."""
        wanted = clean_scores.detach().log_softmax(dim=1)
        return self.loss_weight * F.kl_div(
            scores.log_softmax(dim=1), wanted, reduction="batchmean", log_target=True
        )
