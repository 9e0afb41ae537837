"""Data: the paired data set, how its names are matched, how training samples it, and the haze model."""

from constyle_arch.data.paired_restoration_dataset import PairedRestorationDataset

__all__ = ["PairedRestorationDataset"]
