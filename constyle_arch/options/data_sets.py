"""The options of data sets: a class for what each `type` has, a field for each key; see `schema`."""

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import create_model

from constyle_arch.options.kinds import (
    REFUSED,
    WITHOUT_EFFECT,
    Above0,
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
    """What it is called in results, and the folder of its pictures."""
    type: Text
    """The data set's class; those of this package follow."""
    phase: Annotated[str | None, WITHOUT_EFFECT] = None
    """Filled in from the name of the section."""
    scale: Annotated[Any, WITHOUT_EFFECT] = None
    """Filled in from the `scale` of the run."""


class TrainingSet(DataSet):
    """`datasets.train`: how batches are loaded, whatever the data set."""

    batch_size_per_gpu: Annotated[FromOne, REFUSED]
    """Images in a step of each process; BatchNorm and the style loss see this many."""
    num_worker_per_gpu: Annotated[FromZero, WITHOUT_EFFECT]
    """Processes that load images; 0: the training itself does."""
    dataset_enlarge_ratio: Annotated[Above0, REFUSED] = 1
    """How often an epoch goes through the images."""
    prefetch_mode: Annotated[Literal["cpu", "cuda"] | None, WITHOUT_EFFECT] = None
    """Load the next batches in a thread (`cpu`) or on a stream of the GPU (`cuda`) meanwhile."""
    num_prefetch_queue: Annotated[FromOne, WITHOUT_EFFECT] = 1
    """Batches that `prefetch_mode: cpu` keeps ready."""
    pin_memory: Annotated[bool, WITHOUT_EFFECT] = False
    """Load into memory from which a GPU copies faster."""
    persistent_workers: Annotated[bool | None, WITHOUT_EFFECT] = None
    """Keep workers between epochs. Left out: true, but for `prefetch_mode: cpu`."""
    gt_sizes: Annotated[list[FromOne] | None, REFUSED] = None
    """Progressive training, as Restormer's option files have it: each period's crops, cut out of those of `gt_size`."""
    mini_batch_sizes: Annotated[list[FromOne] | None, REFUSED] = None
    """With `gt_sizes`: images in a step of each process, taken out of `batch_size_per_gpu`."""
    iters: Annotated[list[FromOne] | None, REFUSED] = None
    """With `gt_sizes`: iterations of each period; after the last one it stays."""


class Crops(Section):
    """Crops of `datasets.train`: what the data sets of this package have besides."""

    gt_size: FromOne
    """Side of the square crops, in pixels."""
    use_hflip: bool = True
    """Flip crops at random."""
    use_rot: bool = True
    """Rotate crops by 90 degrees at random."""
    second_crop: bool = False
    """Give `lq_other`, another crop of the same degraded image; see `train.contrast.positive`."""


class PairedImages(Section):
    """`type: PairedRestorationDataset`: pairs of degraded and clean images.

    A path that ends in `.lmdb` is an LMDB, any other a folder, searched recursively; `*` in it
    stands for any folder, and names begin there.
    """

    dataroot_gt: Text
    """Where the clean images lie."""
    dataroot_lq: Text
    """Where the degraded images lie."""
    io_backend: dict[str, Any] | None = None
    """Not needed: paths tell. BasicSR's `type: disk` or `lmdb` is compared with them."""
    lq_name: Text = "{}"
    """Form of the degraded images' names: `{}` is what a pair has in common, `*` any text."""
    gt_name: Text = "{}"
    """Form of the clean images' names."""
    hold_out: FromTwo | None = None
    """Every N-th clean image is left out of training, and is what other phases read."""


class DegradedImages(Section):
    """`type: DegradedImageDataset`: clean images, degraded as they are read."""

    dataroot_gt: Text | list[Text]
    """Where the clean images lie: one place or a list."""
    degradations: list[dict[str, Any]]
    """Applied in turn: each a `type`, such as noise, rain or jpeg, and its quantities: a number, a range
    [low, high] or {choice: [...]}."""
    color: Literal["rgb", "gray"] = "rgb"
    """`gray`: the gray version of each image, in three equal channels."""
    hold_out: FromTwo | None = None
    """Every N-th clean image is left out of training, and is what other phases read."""


class ClassifiedImages(Section):
    """`type: ClassifiedImageDataset`: clean images of classes, degraded as they are read; for `PrompterModel`."""

    dataroot_gt: Text | list[Text]
    """Where the classes' folders lie: one place or a list."""
    degradations: list[dict[str, Any]]
    """As for `DegradedImageDataset`."""
    gt_size: FromOne = 224
    """Side of the square parts, in pixels."""
    use_hflip: bool = True
    """Flip parts at random, to train on."""


class MixedImages(Section):
    """`type: MixedDataset`: samples of several data sets, one network for several tasks."""

    sets: list[dict[str, Any]]
    """The data sets' own options, each with a `type`; crops are those of this section."""
    weights: list[Above0] | None = None
    """How often each set is drawn, relative to the others. Left out: equally often."""


DATA_SETS: dict[str, type[Section]] = {
    "PairedRestorationDataset": PairedImages,
    "DegradedImageDataset": DegradedImages,
    "ClassifiedImageDataset": ClassifiedImages,
    "MixedDataset": MixedImages,
}
"""The data sets of this package."""


@cache
def data_set(name: str, *, trains: bool) -> type[Section]:
    """The options of a data set by its `type`: those of every data set where it is not one of ours."""
    common = TrainingSet if trains else DataSet
    if name not in DATA_SETS:
        return common
    bases = (DATA_SETS[name], Crops, common) if trains else (DATA_SETS[name], common)
    return create_model(f"{name}To{'Train' if trains else 'Measure'}", __base__=bases)
