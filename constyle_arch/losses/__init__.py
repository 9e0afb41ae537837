"""Losses: those of ConStyle, and of a restored image against the clean one."""

from constyle_arch.losses.constyle_loss import ContentLoss, InfoNCELoss, StyleLoss
from constyle_arch.losses.prompter_loss import ClassDistanceLoss, ClassLoss
from constyle_arch.losses.restoration_loss import FFTLoss, PSNRLoss

__all__ = [
    "ClassDistanceLoss",
    "ClassLoss",
    "ContentLoss",
    "FFTLoss",
    "InfoNCELoss",
    "PSNRLoss",
    "StyleLoss",
]
