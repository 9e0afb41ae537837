"""Architectures: ConStyle, the general restoration network, and the networks built on it."""

from constyle_arch.archs.constyle_arch import ConStyle
from constyle_arch.archs.conv_arch import ConStyleConv, OriginConv
from constyle_arch.archs.fused import use_fused
from constyle_arch.archs.general_restoration_arch import (
    OPERATOR_REGISTRY,
    GeneralRestorationNetwork,
)
from constyle_arch.archs.kbnet_arch import ConStyleKBNet
from constyle_arch.archs.maxim_arch import ConStyleMaxim, Maxim
from constyle_arch.archs.multi_stage_maxim_arch import MultiStageMaxim
from constyle_arch.archs.nafnet_arch import ConStyleNAFNet, NAFNet
from constyle_arch.archs.prompter_arch import Prompter
from constyle_arch.archs.restormer_arch import ConStyleRestormer, Restormer
from constyle_arch.archs.uformer_arch import ConStyleUformer

__all__ = [
    "OPERATOR_REGISTRY",
    "ConStyle",
    "ConStyleConv",
    "ConStyleKBNet",
    "ConStyleMaxim",
    "ConStyleNAFNet",
    "ConStyleRestormer",
    "ConStyleUformer",
    "GeneralRestorationNetwork",
    "Maxim",
    "MultiStageMaxim",
    "NAFNet",
    "OriginConv",
    "Prompter",
    "Restormer",
    "use_fused",
]
