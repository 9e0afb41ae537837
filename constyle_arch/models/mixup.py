"""Mixup of training pairs (Zhang et al., arXiv 1710.09412)."""

import torch
from torch import Tensor


def mixup(lq: Tensor, gt: Tensor, beta: float, use_identity: bool) -> tuple[Tensor, Tensor]:
    """Blend each pair of a batch with another, both images by one weight λ ~ Beta(β, β).

    Args:
        lq: degraded images (N, C, H, W).
        gt: clean images (N, C, H, W), mixed in the same way.
        beta: β; at 1.2, the published value, λ is spread over [0, 1] with a slight preference for
            0.5.
        use_identity: leave every second batch, on average, as it is.
    """
    if use_identity and torch.rand(()) < 0.5:
        return lq, gt
    weight = torch.distributions.Beta(beta, beta).sample().item()
    partner = torch.randperm(len(lq))
    return lq.lerp(lq[partner], 1 - weight), gt.lerp(gt[partner], 1 - weight)
