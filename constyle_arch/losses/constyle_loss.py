"""The losses that train ConStyle (arXiv 2402.15784, section 3.2).

Codes are (B, 128): one for each image of the batch. The queue is (128, K): one past code in each
column.
"""

import torch
import torch.nn.functional as F
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from constyle_arch.archs.constyle_arch import Codes


@LOSS_REGISTRY.register()
class InfoNCELoss(nn.Module):
    """Tells each query's positive from the queue: cross entropy of [q·k, q·queue] / T with class 0.

    Args:
        temperature: T, above 0.
        loss_weight: factor of the loss.

    Raises:
        ValueError: the temperature is not positive.
    """

    TAKES = ("query", "positive", "queue")

    def __init__(self, temperature: float = 0.07, loss_weight: float = 1.0) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature is {temperature}; it must be above 0.")
        self.temperature = temperature
        self.loss_weight = loss_weight

    def forward(self, query: Tensor, positive: Tensor, queue: Tensor) -> Tensor:
        """The loss of `query` (B, D) with `positive` (B, D) and the negatives `queue` (D, K)."""
        query = query / self.temperature
        positive_logit = (query * positive).sum(dim=1)
        negatives = (query @ queue).logsumexp(dim=1)
        return self.loss_weight * F.softplus(negatives - positive_logit).mean()


@LOSS_REGISTRY.register()
class ContentLoss(nn.Module):
    """Pulls the degraded image's code to the clean image's: the mean of (c2 − k2)².

    Args:
        loss_weight: factor of the loss.
    """

    TAKES = ("query", "positive")

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, query: Tensor, positive: Tensor) -> Tensor:
        """The loss of `query` (B, D) with `positive` (B, D)."""
        return self.loss_weight * F.mse_loss(query, positive)


@LOSS_REGISTRY.register()
class StyleLoss(nn.Module):
    """Pushes the codes' Gram matrices away from past degraded images'; never positive.

    Args:
        loss_weight: factor of the loss.
    """

    TAKES = ("codes", "negatives")

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, codes: Codes, negatives: Codes) -> Tensor:
        """The loss of both `codes` with as many `negatives` from the queue, all (B, D)."""
        pairs = zip(codes, negatives, strict=True)
        distances = [F.mse_loss(gram(code), gram(negative)) for code, negative in pairs]
        return -self.loss_weight * torch.stack(distances).sum()


def gram(codes: Tensor) -> Tensor:
    """The Gram matrix (B, B) of a batch of `codes` (B, D), divided by B·D."""
    return codes @ codes.mT / codes.numel()
