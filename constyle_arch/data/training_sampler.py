"""What training reads and in which order: whole batches, and a seed of its own for every sample."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler, default_collate

from constyle_arch.images import in_unit_range


@dataclass(eq=False)
class WholeBatchSampler(Sampler[tuple[int, int]]):
    """Shuffles a data set again each epoch and fills the epoch up to whole batches on every rank.

    It yields (index, seed): the seed decides the sample's crop and augmentation, so that these
    depend on the run's seed, the epoch and the position alone, whatever the number of workers.

    Args:
        num_images: length of the data set.
        batch_size: samples of one rank in one iteration.
        num_replicas: number of ranks.
        rank: this process's rank.
        enlarge_ratio: how often an epoch goes through the data set.
        seed: the run's seed.
        done: iterations that the run has behind it; what they took is skipped.
        batch: the indices of every batch, where these are always the same; see `MixedDataset`.
    """

    num_images: int
    batch_size: int
    num_replicas: int
    rank: int
    enlarge_ratio: float
    seed: int
    done: int = 0
    batch: Sequence[int] = ()

    def __post_init__(self) -> None:
        self.epoch = 0
        size = self.batch_size * self.num_replicas
        self.batches = math.ceil(self.num_images * self.enlarge_ratio / size)
        self.num_samples = self.batches * self.batch_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """This rank's samples of the current epoch that the run does not have behind it."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        total = self.num_samples * self.num_replicas
        rounds = range(math.ceil(total / self.num_images))
        order = torch.cat([torch.randperm(self.num_images, generator=generator) for _ in rounds])
        seeds = torch.randint(2**32, (total,), generator=generator)
        mine = slice(self.rank, total, self.num_replicas)
        skipped = min(max(self.done - self.epoch * self.batches, 0), self.batches) * self.batch_size
        indices = [*self.batch] * self.batches or order[mine].tolist()
        yield from zip(indices[skipped:], seeds[mine][skipped:].tolist(), strict=True)

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch the next iteration is about."""
        self.epoch = epoch


class SeededDataset(Dataset[Any]):
    """Reads a sample under its own seed and leaves the process's random state as it was.

    Args:
        dataset: a BasicSR data set, which draws crops and augmentations from `random`, NumPy or
            torch.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, sample: tuple[int, int]) -> Any:
        """The item of `sample`, a pair (index, seed) as `WholeBatchSampler` yields it."""
        index, seed = sample
        states = random.getstate(), np.random.get_state(), torch.get_rng_state()
        random.seed(seed)
        np.random.seed(seed)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs too
        try:
            return self.dataset[index]
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
            torch.set_rng_state(states[2])


def collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """As `default_collate`; where uint8 images meet others in [0, 1], all become the latter."""
    mixed = [
        key
        for key, value in samples[0].items()
        if isinstance(value, torch.Tensor) and len({sample[key].dtype for sample in samples}) > 1
    ]
    return default_collate(
        [{**sample, **{key: in_unit_range(sample[key]) for key in mixed}} for sample in samples]
    )
