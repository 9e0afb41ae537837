"""What the processes of a run tell each other; a run of one process talks to nobody."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, distributed


def ranks() -> tuple[int, int]:
    """The number of processes and this one's rank."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size(), distributed.get_rank()
    return 1, 0


def gathered(tensor: Tensor) -> Tensor:
    """The tensors of all ranks, (ranks·N, …), one rank after the other."""
    if ranks()[0] == 1:
        return tensor
    every = [torch.empty_like(tensor) for _ in range(ranks()[0])]
    distributed.all_gather(every, tensor.contiguous())
    return torch.cat(every)


def gathered_objects(thing: Any) -> list[Any]:
    """The things of all ranks, on rank 0; an empty list elsewhere."""
    world_size, rank = ranks()
    if world_size == 1:
        return [thing]
    every: list[Any] | None = [None] * world_size if rank == 0 else None
    distributed.gather_object(thing, every, dst=0)
    return every or []


def all_reduce_max(tensor: Tensor) -> Tensor:
    """For each entry the largest that any rank gives, in place; on a GPU nothing waits for it."""
    if ranks()[0] > 1:
        distributed.all_reduce(tensor, distributed.ReduceOp.MAX)
    return tensor


@torch.no_grad()
def broadcast(tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors with those of rank 0."""
    if ranks()[0] > 1:
        for tensor in tensors:
            distributed.broadcast(tensor, src=0)
