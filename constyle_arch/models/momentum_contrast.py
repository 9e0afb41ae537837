"""What contrastive training keeps besides the network: momentum encoder and queue.

Source: arXiv 2402.15784, section 3.2, after MoCo (arXiv 1911.05722).
"""

from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from constyle_arch.archs.constyle_arch import CODE_CHANNELS, Codes, ConStyle
from constyle_arch.distributed import gathered, ranks


class MomentumContrast(nn.Module):
    """Momentum encoder and queue.

    Its state dict holds all of its state: `encoder.…`, `queue` (128, K) and `pointer`, the column
    the next code goes to. Any batch size goes with any K: the queue is a ring.

    Args:
        encoder: the query encoder; the momentum encoder starts as its copy.
        queue_size: K, the number of past codes, at least 1.
        momentum: share of the momentum encoder that an update keeps, in [0, 1].
        normalize: L2-normalise the codes that the losses and the queue see. The published recipe
            does not; its codes can meet the content loss by becoming short.
    """

    queue: Tensor
    pointer: Tensor

    def __init__(
        self,
        encoder: ConStyle,
        *,
        queue_size: int = 65_760,
        momentum: float = 0.999,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        self.momentum = momentum
        self.normalize = normalize
        self.encoder = deepcopy(encoder).requires_grad_(False).train()
        queue = torch.randn(CODE_CHANNELS, queue_size)
        self.register_buffer("queue", F.normalize(queue, dim=0) if normalize else queue)
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def update_encoder(self, encoder: ConStyle) -> None:
        """Move the momentum encoder a step of 1 − momentum towards `encoder`."""
        own: list[Tensor] = list(self.encoder.parameters())
        torch._foreach_lerp_(own, list(encoder.parameters()), 1 - self.momentum)

    @torch.no_grad()
    def positive(self, gt: Tensor) -> Tensor:
        """The momentum encoder's second code (B, 128) of the clean images `gt` (B, 3, H, W)."""
        return self.prepared(self.encoder(gt).codes).c2

    def prepared(self, codes: Codes) -> Codes:
        """`codes` as losses and queue take them: L2-normalised where `normalize` is set."""
        return Codes(*(F.normalize(code, dim=1) for code in codes)) if self.normalize else codes

    def negatives(self, batch_size: int) -> Codes:
        """Past codes for the style loss, (batch_size, 128) each, a copy.

        c2's are the entries at the pointer, about to be replaced; c1's are those after them. Across
        ranks the entries about to be replaced are dealt out in the order in which the ranks' codes
        replace them.
        """
        world_size, rank = ranks()
        start = self.pointer + rank * batch_size
        after = start + world_size * batch_size
        return Codes(c1=self._entries(after, batch_size), c2=self._entries(start, batch_size))

    @torch.no_grad()
    def enqueue(self, codes: Tensor, unless: Tensor | None = None) -> None:
        """Replace the entries at the pointer by `codes` (B, 128) of all ranks, and move it on.

        Args:
            codes: of the degraded images, or of their positives.
            unless: a number on the queue's device; where it is above 0 nothing changes.
        """
        codes = gathered(codes)
        newest = codes[-self.queue.shape[1] :].T  # a batch longer than the queue laps it
        end = self.pointer + len(codes)
        columns = self._columns(end - newest.shape[1], newest.shape[1])
        pointer = end % self.queue.shape[1]
        if unless is not None:
            newest = torch.where(unless > 0, self.queue[:, columns], newest)
            pointer = torch.where(unless > 0, self.pointer, pointer)
        self.queue[:, columns] = newest
        self.pointer.copy_(pointer)

    def _entries(self, start: Tensor, count: int) -> Tensor:
        return self.queue[:, self._columns(start, count)].T

    def _columns(self, start: Tensor, count: int) -> Tensor:
        """`count` columns of the ring from `start` on, computed on the queue's device."""
        return (start + torch.arange(count, device=self.queue.device)) % self.queue.shape[1]


@torch.no_grad()
def contrast_health(query: Tensor, positive: Tensor, queue: Tensor) -> dict[str, Tensor]:
    """Numbers that tell a healthy contrast from a collapsed one; see `docs/training.md`.

    Args:
        query: codes of the degraded images (B, D).
        positive: their positives (B, D).
        queue: the negatives (D, K).

    Returns:
        `cos_positive`, the mean cosine of each query and its positive; `cos_negatives`, that of
        queries and negatives; `code_std`, the standard deviation of the code over the batch, its
        mean over the D entries; `code_norm`, the mean length of the queries; `contrast_acc`, the
        share of queries nearer to their positive than to every negative, by the scalar product that
        InfoNCE compares.
    """
    nearest_negative = (query @ queue).amax(dim=1)
    mean_negative = F.normalize(queue, dim=0).mean(dim=1)
    return {
        "cos_positive": F.cosine_similarity(query, positive, dim=1).mean(),
        "cos_negatives": (F.normalize(query, dim=1) @ mean_negative).mean(),
        "code_std": query.std(dim=0).mean(),
        "code_norm": query.norm(dim=1).mean(),
        "contrast_acc": ((query * positive).sum(dim=1) > nearest_negative).float().mean(),
    }
