"""Metrics beside BasicSR's, for `val.metrics`."""

from constyle_arch.metrics.perceptual import calculate_dists, calculate_lpips

__all__ = ["calculate_dists", "calculate_lpips"]
