"""Mixup of training pairs (Zhang et al., arXiv 1710.09412)."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Mixup:
    """Blends each pair of a batch with another, both images by one weight λ ~ Beta(β, β).

    Attributes:
        mixup_beta: β; at 1.2, the published value, λ is spread over [0, 1] with a slight preference
            for 0.5.
        use_identity: leave every second batch, on average, as it is.
    """

    mixup_beta: float = 1.2
    use_identity: bool = True

    def __call__(self, lq: Tensor, gt: Tensor) -> tuple[Tensor, Tensor]:
        """Mix `lq` and `gt`, each (N, C, H, W), in the same way."""
        if self.use_identity and torch.rand(()) < 0.5:
            return lq, gt
        weight = torch.distributions.Beta(self.mixup_beta, self.mixup_beta).sample().item()
        partner = torch.randperm(len(lq))
        return lq.lerp(lq[partner], 1 - weight), gt.lerp(gt[partner], 1 - weight)
