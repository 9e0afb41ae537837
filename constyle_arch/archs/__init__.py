"""Architectures: the ConStyle encoder, the general restoration network and the networks built on it."""

from constyle_arch.archs.constyle_arch import ConStyle
from constyle_arch.archs.general_restoration_arch import GeneralRestorationNetwork
from constyle_arch.archs.restormer_arch import ConStyleRestormer

__all__ = ["ConStyle", "ConStyleRestormer", "GeneralRestorationNetwork"]
