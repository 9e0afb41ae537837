"""This package's networks for spandrel, with which chaiNNer and others load models.

    from constyle_arch.inference import spandrel_adapter

    spandrel_adapter.install()
    model = ModelLoader().load_from_file("net_g_latest.pth")  # spandrel's own loader

The weights may have this project's names or a release's (IRConStyle's, Restormer's, NAFNet's,
MAXIM's). What spandrel itself recognises and this package does not, it loads as before.
"""

import torch
from torch import Tensor

import constyle_arch.archs  # noqa: F401  # registers the architectures
from constyle_arch.archs.layers import channels_of
from constyle_arch.checkpoints.detection import Options, detect_network
from constyle_arch.checkpoints.loading import own_names
from constyle_arch.checkpoints.reading import StateDict
from constyle_arch.errors import CheckpointError, UserError
from constyle_arch.registry import ARCH_REGISTRY

try:
    from spandrel import (
        MAIN_REGISTRY,
        Architecture,
        ArchRegistry,
        ArchSupport,
        ImageModelDescriptor,
        ModelTiling,
        SizeRequirements,
    )
except ImportError as error:
    raise UserError(
        'spandrel cannot be imported; install it with: pip install "constyle-arch[spandrel]"'
    ) from error

__all__ = ["ARCHITECTURES", "RestorationArchitecture", "install"]


class RestorationArchitecture(Architecture):  # type: ignore[misc]  # spandrel publishes no types
    """One of this package's networks, as spandrel asks for it.

    Args:
        network: the name the network is registered with at BasicSR.
        title: what programs show.
        half: whether all of the network may be float16.
        bfloat16: whether all of it may be bfloat16.
    """

    def __init__(self, network: str, title: str, *, half: bool, bfloat16: bool) -> None:
        super().__init__(id=f"constyle_arch.{network}", name=title, detect=self.recognises)
        self.network, self.half, self.bfloat16 = network, half, bfloat16

    def recognises(self, state_dict: StateDict) -> bool:
        """Whether these are weights of this network: all tensors, of their shapes, no others."""
        if not all(isinstance(tensor, Tensor) for tensor in state_dict.values()):
            return False
        try:
            weights = own_names(state_dict)
            name, options = detect_network(weights)
            if name != self.network:
                return False
            with torch.device("meta"):
                wanted = ARCH_REGISTRY.get(name)(**options).state_dict()
        except (CheckpointError, LookupError, TypeError, ValueError, ArithmeticError):
            return False  # another network's weights, with a name or two of ours
        return {key: tensor.shape for key, tensor in wanted.items()} == {
            key: tensor.shape for key, tensor in weights.items()
        }

    def load(self, state_dict: StateDict) -> ImageModelDescriptor:
        """The network with these weights, which `recognises` has accepted.

        Raises:
            CheckpointError: the weights are of no network of this package.
        """
        weights = own_names(state_dict)
        name, options = detect_network(weights)
        network = ARCH_REGISTRY.get(name)(**options).eval()
        return ImageModelDescriptor(
            network,
            weights,
            architecture=self,
            purpose="Restoration",
            tags=_tags(options),
            supports_half=self.half,
            supports_bfloat16=self.bfloat16,
            scale=1,
            input_channels=channels_of(network),
            output_channels=int(getattr(network, "out_channels", 3)),
            # the networks pad by themselves: any size will do
            size_requirements=SizeRequirements(),
            tiling=ModelTiling.DISCOURAGED,  # codes, attention and pooling look at the whole image
        )


ARCHITECTURES = (
    RestorationArchitecture("ConStyleRestormer", "ConStyle-Restormer", half=True, bfloat16=True),
    RestorationArchitecture("ConStyleNAFNet", "ConStyle-NAFNet", half=False, bfloat16=True),
    RestorationArchitecture("ConStyleMaxim", "ConStyle-MAXIM", half=True, bfloat16=True),
    RestorationArchitecture("ConStyleConv", "ConStyle-Conv", half=False, bfloat16=True),
    RestorationArchitecture("ConStyleKBNet", "ConStyle-KBNet", half=False, bfloat16=True),
    RestorationArchitecture("ConStyleUformer", "ConStyle-Uformer", half=True, bfloat16=True),
    RestorationArchitecture("Restormer", "Restormer", half=True, bfloat16=True),
    RestorationArchitecture("NAFNet", "NAFNet", half=False, bfloat16=True),
    RestorationArchitecture("Maxim", "MAXIM-1S", half=True, bfloat16=True),
    RestorationArchitecture("MultiStageMaxim", "MAXIM", half=True, bfloat16=True),
)
"""The networks.

NAFNet's and KBNet's gates are products of features, which nothing bounds, and nothing normalises
ConStyle-Conv's: float16 may not hold them.
"""


def install(registry: ArchRegistry = MAIN_REGISTRY) -> None:
    """Have spandrel load this package's networks; calling it again changes nothing.

    They are asked before all architectures that the registry has by then, and accept only what fits
    them to the last tensor. NAFNet's published weights are among that: they are loaded into this
    package's NAFNet, which computes the same as spandrel's. The default registry is that of every
    `ModelLoader` that was not given one.
    """
    architectures = [support.architecture for support in registry]
    others = tuple(one.id for one in architectures if one not in ARCHITECTURES)
    ours = [ArchSupport.from_architecture(one, before=others) for one in ARCHITECTURES]
    registry.add(*ours, ignore_duplicates=True)


def _tags(options: Options) -> list[str]:
    """The width, and what of ConStyle does not enter."""
    width = options["width"] if "width" in options else options["dim"]
    left_out = [part for part in ("features", "code") if not options.get(f"use_{part}", True)]
    return [f"{width}dim", *(f"no {part}" for part in left_out)]
