"""The losses of ConStyle v2's first stage (arXiv 2406.18242) besides ConStyle's: of the classes.

Scores are (B, classes), before the softmax; classes are (B,), whole numbers.
"""

import torch.nn.functional as F
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn


@LOSS_REGISTRY.register()
class ClassLoss(nn.Module):
    """Cross entropy of the degraded images' classes.

    Args:
        loss_weight: factor of the loss.
    """

    TAKES = ("scores", "classes")

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, scores: Tensor, classes: Tensor) -> Tensor:
        """The loss of `scores` (B, classes) where `classes` (B,) are right."""
        return self.loss_weight * F.cross_entropy(scores, classes)


@LOSS_REGISTRY.register()
class ClassDistanceLoss(nn.Module):
    """KL(softmax of the clean images' scores ‖ softmax of the degraded ones'), batch mean.

    Args:
        loss_weight: factor of the loss.
    """

    TAKES = ("scores", "clean_scores")

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, scores: Tensor, clean_scores: Tensor) -> Tensor:
        """The loss of `scores` with `clean_scores`, (B, classes), which get no gradient."""
        wanted = clean_scores.detach().log_softmax(dim=1)
        return self.loss_weight * F.kl_div(
            scores.log_softmax(dim=1), wanted, reduction="batchmean", log_target=True
        )
