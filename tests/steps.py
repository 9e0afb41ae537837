"""A training step of a model, and what it changes."""

from copy import deepcopy

import torch

QUEUE = 12
BATCH = 5  # does not divide the queue, so that it wraps around


def batch(seed: int, size: int = BATCH) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    lq, gt = torch.rand(2, size, 3, 16, 16, generator=generator)
    return {"lq": lq, "gt": gt}


def everything(model):
    """All that a step may change, copied."""
    state = {
        "net": model.get_bare_model(model.net_g).state_dict(),
        "ema": model.net_g_ema.state_dict(),
        "contrast": model.contrast.state_dict(),
        "optimizer": model.optimizer_g.state_dict()["state"],
    }
    return deepcopy(state)


def optimized_once(model, **more):
    model.feed_data({**batch(1), **more})
    model.optimize_parameters(1)
    return {name: parameter.grad for name, parameter in model.net_g.named_parameters()}
