"""Data: the data sets, where their images lie, how names are matched, and how training samples."""

from constyle_arch.data.degraded_image_dataset import DegradedImageDataset
from constyle_arch.data.mixed_dataset import MixedDataset
from constyle_arch.data.paired_restoration_dataset import PairedRestorationDataset

__all__ = ["DegradedImageDataset", "MixedDataset", "PairedRestorationDataset"]
