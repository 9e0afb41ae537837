"""What this package's losses share."""

from torch import nn


class WeightedLoss(nn.Module):
    """A loss with a weight.

    Args:
        loss_weight: factor of the loss.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight
