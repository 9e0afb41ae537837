"""Losses: the contrast, content and style losses of ConStyle."""

from constyle_arch.losses.constyle_loss import ContentLoss, InfoNCELoss, StyleLoss

__all__ = ["ContentLoss", "InfoNCELoss", "StyleLoss"]
