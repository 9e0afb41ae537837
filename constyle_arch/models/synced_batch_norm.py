"""BatchNorm over the batches of all processes, for ConStyle's codes."""

from typing import Any

import torch
from torch import Tensor, distributed, nn

from constyle_arch.distributed import gathered, ranks


class Gathered(torch.autograd.Function):
    """`gathered` with gradients: each process gets those that all have for its tensor."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        """The tensors of all ranks, (ranks·N, …)."""
        return gathered(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Those of all ranks added up, (N, …)."""
        total = gradients[0].clone()
        distributed.all_reduce(total)
        count, rank = ranks()
        return total.chunk(count)[rank]


class SyncedBatchNorm1d(nn.BatchNorm1d):
    """BatchNorm that computes in training as one process with the batches of all would.

    `torch.nn.SyncBatchNorm` exchanges means and variances, and runs on GPUs alone. Here the inputs
    (N, C) themselves are exchanged; codes are small. N is the same on all processes.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise the batch (N, C) of this process."""
        count, rank = ranks()
        if count == 1 or not self.training:
            return super().forward(input)
        joint: Tensor = Gathered.apply(input)  # type: ignore[no-untyped-call]
        return super().forward(joint).chunk(count)[rank]


def synchronize(network: nn.Module) -> None:
    """Have each BatchNorm1d of a network compute with the batches of all processes, in place."""
    for module in network.modules():
        if type(module) is nn.BatchNorm1d:
            module.__class__ = SyncedBatchNorm1d
