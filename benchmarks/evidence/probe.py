"""What ConStyle's code knows of an image's degradation: a linear probe."""

from pathlib import Path

import torch
from basicsr.data import build_dataset
from torch import Tensor

from benchmarks.evidence.rows import Options, Task
from constyle_arch import load_network
from constyle_arch.archs.general_restoration_arch import GuidedNetwork
from constyle_arch.data.training_sampler import SeededDataset

CROPS, SIDE = 800, 128
"""How many crops the probe is fitted to, and as many again it is scored on; their side in
pixels."""
RIDGE = 1.0
BATCH = 16


@torch.inference_mode()
def explained(weights: Path, task: Task) -> float:
    """How much of a degradation's strength the second code tells by a linear map: R² on photographs
    not fitted to.

    The strength is the logarithm of the root mean square of what the degradation changed in a crop.
    """
    network = load_network(weights, key="params_ema")
    assert isinstance(network, GuidedNetwork)
    (codes, strengths), (others, held_out) = (
        _encoded(network, options) for options in (task.train, task.held_out)
    )
    mean, deviation = codes.mean(0), codes.std(0) + 1e-6
    design, target = (codes - mean) / deviation, strengths - strengths.mean()
    gram = design.T @ design + RIDGE * torch.eye(design.shape[1])
    predicted = (others - mean) / deviation @ torch.linalg.solve(
        gram, design.T @ target
    ) + strengths.mean()
    return float(
        1 - (predicted - held_out).square().sum() / (held_out - held_out.mean()).square().sum()
    )


def _encoded(network: GuidedNetwork, options: Options) -> tuple[Tensor, Tensor]:
    """The codes (N, 128) of crops and the strengths (N,) of their degradation."""
    crops = {
        "name": "crops",
        "phase": "train",
        "scale": 1,
        "gt_size": SIDE,
        "use_hflip": False,
        "use_rot": False,
    }
    dataset = SeededDataset(build_dataset({**options, **crops}))
    codes, strengths = [], []
    for start in range(0, CROPS, BATCH):
        samples = [dataset[number % len(dataset), number] for number in range(start, start + BATCH)]
        lq, gt = (
            torch.stack([sample[side] for sample in samples]).float() for side in ("lq", "gt")
        )
        codes.append(network.encoder(lq).codes.c2)
        strengths.append((lq - gt).square().mean(dim=(1, 2, 3)).sqrt().clamp(min=1e-4).log())
    return torch.cat(codes), torch.cat(strengths)
