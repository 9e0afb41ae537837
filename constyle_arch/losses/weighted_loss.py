"""What the losses of this package share."""

from torch import nn


class WeightedLoss(nn.Module):
    """A loss that an option file weighs.

    Args:
        loss_weight: factor of the loss.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight
