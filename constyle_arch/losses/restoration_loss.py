"""Losses of a restored image against the clean one that BasicSR does not have.

Both images are (N, C, H, W). BasicSR has `L1Loss`, `MSELoss`, `CharbonnierLoss`, `PerceptualLoss`.
"""

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn


@LOSS_REGISTRY.register()
class PSNRLoss(nn.Module):
    """The negative PSNR in decibels, its mean over the images (HINet, arXiv 2105.06086).

    Args:
        loss_weight: factor of the loss.
        eps: added to the mean square, so that equal images have a finite loss, of 10·log10(eps).
        reduction: `mean`, the only one; NAFNet's option files give it.

    Raises:
        ValueError: `reduction` is another one.
    """

    def __init__(
        self, loss_weight: float = 1.0, eps: float = 1e-8, reduction: str = "mean"
    ) -> None:
        super().__init__()
        if reduction != "mean":
            raise ValueError(f"reduction is {reduction!r}; it must be mean.")
        self.loss_weight = loss_weight
        self.eps = eps

    def forward(self, restored: Tensor, clean: Tensor) -> Tensor:
        """The loss of `restored` (N, C, H, W) against `clean`, both in [0, 1]."""
        mean_squares = (restored - clean).square().mean(dim=(1, 2, 3))
        return self.loss_weight * 10 * (mean_squares + self.eps).log10().mean()


@LOSS_REGISTRY.register()
class FFTLoss(nn.Module):
    """The L1 distance of the Fourier transforms (MIMO-UNet, arXiv 2108.05054).

    It is the mean over real and imaginary parts of the half spectrum.

    Args:
        loss_weight: factor of the loss.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, restored: Tensor, clean: Tensor) -> Tensor:
        """The loss of `restored` (N, C, H, W) against `clean`."""
        # the transform is linear: its difference is that of the difference
        difference = torch.view_as_real(torch.fft.rfft2(restored - clean))
        return self.loss_weight * difference.abs().mean()
