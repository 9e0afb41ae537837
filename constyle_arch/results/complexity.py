"""How large a network is and how much it computes."""

from copy import deepcopy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

SIDE = 256
"""Of the image for which computations are counted, in pixels; the field's custom."""


def count_parameters(network: nn.Module) -> int:
    """The number of parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_gmacs(network: nn.Module, side: int = SIDE) -> float | None:
    """Multiply-accumulates of convolutions and matrix products for an image of `side`×`side` pixels, in 10⁹.

    Nothing is computed: shapes alone pass through a copy of the network. None for a network that cannot run so.
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        try:
            deepcopy(network).to("meta").eval()(torch.empty(1, 3, side, side, device="meta"))
        except (NotImplementedError, RuntimeError):
            return None
    return counter.get_total_flops() / 2e9
