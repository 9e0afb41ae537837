"""The options of data sets: a class for each `type`, a field for each key; see `schema`."""

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import create_model

from constyle_arch.options.kinds import (
    REFUSED,
    WITHOUT_EFFECT,
    Above0,
    FileName,
    FolderName,
    FromOne,
    FromTwo,
    FromZero,
    Section,
    Text,
)


class DataSet(Section):
    """`datasets.X`: what every data set has."""

    name: FolderName
    """Its name in results and of its folder of pictures."""
    type: Text
    """The data set's class."""
    phase: Annotated[str | None, WITHOUT_EFFECT] = None
    """Set from the section's name."""
    scale: Annotated[Any, WITHOUT_EFFECT] = None
    """Set from the run's `scale`."""


class TrainingSet(DataSet):
    """`datasets.train`: how batches are loaded, whatever the data set."""

    batch_size_per_gpu: Annotated[FromOne, REFUSED]
    """Images of a step and process, which BatchNorm and the style loss see."""
    num_worker_per_gpu: Annotated[FromZero, WITHOUT_EFFECT]
    """Processes that load images; 0: the training's own."""
    dataset_enlarge_ratio: Annotated[Above0, REFUSED] = 1
    """Passes through the images in an epoch."""
    prefetch_mode: Annotated[Literal["cpu", "cuda"] | None, WITHOUT_EFFECT] = None
    """Load the next batches in a thread (`cpu`) or on a CUDA stream (`cuda`)."""
    num_prefetch_queue: Annotated[FromOne, WITHOUT_EFFECT] = 1
    """Batches that `prefetch_mode: cpu` keeps ready."""
    pin_memory: Annotated[bool, WITHOUT_EFFECT] = False
    """Load into pinned memory."""
    persistent_workers: Annotated[bool | None, WITHOUT_EFFECT] = None
    """Keep workers between epochs. Left out: true, but for `prefetch_mode: cpu`."""
    gt_sizes: Annotated[list[FromOne] | None, REFUSED] = None
    """Restormer's progressive training: each period's crops, cut out of those of `gt_size`."""
    mini_batch_sizes: Annotated[list[FromOne] | None, REFUSED] = None
    """With `gt_sizes`: images of a step and process, at most `batch_size_per_gpu`."""
    iters: Annotated[list[FromOne] | None, REFUSED] = None
    """With `gt_sizes`: iterations of each period; the last one continues."""


class Crops(Section):
    """Crops of `datasets.train`: of this package's data sets."""

    gt_size: FromOne
    """Side of the square crops, in pixels."""
    use_hflip: bool = True
    """Flip crops at random."""
    use_rot: bool = True
    """Rotate crops by 90 degrees at random."""
    second_crop: bool = False
    """Add `lq_other`, another crop of the degraded image, for `train.contrast.positive`."""


class PairedImages(Section):
    """`type: PairedRestorationDataset`: pairs of degraded and clean images.

    A path that ends in `.lmdb` is an LMDB, any other a folder, read recursively; `*` in it means
    any folder, and names begin there.
    """

    dataroot_gt: FileName
    """The clean images."""
    dataroot_lq: FileName
    """The degraded images."""
    io_backend: dict[str, Any] | None = None
    """Not needed. BasicSR's `type: disk` or `lmdb` must agree with the paths."""
    lq_name: Text = "{}"
    """Form of the degraded names: `{}` is what a pair has in common, `*` any text."""
    gt_name: Text = "{}"
    """Form of the clean names."""
    filename_tmpl: Text = "{}"
    """BasicSR's form of the degraded names in a folder; `lq_name` takes precedence."""
    meta_info_file: FileName | None = None
    """BasicSR's list of the clean images to read, one a line with its suffix."""
    use_shuffle: Annotated[bool, WITHOUT_EFFECT] = True
    """BasicSR's, without effect there too: training images are always shuffled."""
    hold_out: FromTwo | None = None
    """Every N-th clean image is read by other phases, not by training."""


class DegradedImages(Section):
    """`type: DegradedImageDataset`: clean images, degraded as they are read."""

    dataroot_gt: FileName | list[FileName]
    """The clean images: a path or a list."""
    degradations: list[dict[str, Any]]
    """Applied in turn: each a `type`, such as noise, and quantities: a number, [low, high] or
    {choice: [...]}."""
    color: Literal["rgb", "gray"] = "rgb"
    """`gray`: one channel for a network of one, else three equal ones."""
    hold_out: FromTwo | None = None
    """Every N-th clean image is read by other phases, not by training."""


class ClassifiedImages(Section):
    """`type: ClassifiedImageDataset`, for `PrompterModel`: degraded images of several classes."""

    dataroot_gt: FileName | list[FileName]
    """The classes' folders: a path or a list."""
    degradations: list[dict[str, Any]]
    """As for `DegradedImageDataset`."""
    gt_size: FromOne = 224
    """Side of the square crops, in pixels."""
    use_hflip: bool = True
    """Flip crops at random in training."""


class MixedImages(Section):
    """`type: MixedDataset`: samples of several data sets, one network for several tasks."""

    sets: list[dict[str, Any]]
    """The data sets' options, each with a `type`; crops are this section's."""
    weights: list[Above0] | None = None
    """Relative frequency of each set. Left out: equal."""
    balanced: bool = False
    """Whether each batch of a process holds exactly each set's share, not only on average."""


DATA_SETS: dict[str, type[Section]] = {
    "PairedRestorationDataset": PairedImages,
    "DegradedImageDataset": DegradedImages,
    "ClassifiedImageDataset": ClassifiedImages,
    "MixedDataset": MixedImages,
}
"""The data sets of this package."""


@cache
def data_set(name: str, *, trains: bool) -> type[Section]:
    """The options of a data set by its `type`; the common ones where it is not one of ours."""
    common = TrainingSet if trains else DataSet
    if name not in DATA_SETS:
        return common
    bases = (DATA_SETS[name], Crops, common) if trains else (DATA_SETS[name], common)
    return create_model(f"{name}To{'Train' if trains else 'Measure'}", __base__=bases)
