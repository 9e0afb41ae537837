"""Repairs of BasicSR's networks."""

from typing import Any

from basicsr.archs.srresnet_arch import MSRResNet
from torch import nn


def build_srresnet_at_scale_one() -> None:
    """`MSRResNet` with `upscale: 1` fails in its forward pass on a layer that it does not have."""
    MSRResNet.__getattr__ = attribute_of_srresnet


def attribute_of_srresnet(self: MSRResNet, name: str) -> Any:
    """A part of the network; one without parameters for the layer that scale 1 does without."""
    if name == "upconv1" and self.upscale == 1:
        return nn.Identity()
    return nn.Module.__getattr__(self, name)
