"""The options of a run: a class for each section of its file, a field for each key.

A field states its type, bounds and default, and the text below it describes it. The check of a file
(`structure`), the tables of docs/options.md, the JSON schema for editors (`json_schema`) and what may
change when a run resumes (`training.resuming`) all follow from these.
"""

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, create_model

from constyle_arch.options.kinds import (
    REFUSED,
    WITHOUT_EFFECT,
    Above0,
    Below1,
    FolderName,
    FromOne,
    FromTwo,
    FromZero,
    Iterations,
    IterationsFromZero,
    Precision,
    Resuming,
    Section,
    Seed,
    Share,
    Text,
    Whole,
    section_in,
)


class Named(Section):
    """A registered component by its `type`, and the options of its constructor."""

    model_config = ConfigDict(extra="allow")

    type: Text
    """The name under which it is registered."""


# data sets


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
    balanced: bool = False
    """Whether every batch of a process holds each set's share exactly; left out, its share on average."""


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


# `train`


class Optimizer(Named):
    """`train.optim_g`: an optimizer and its options."""

    type: Annotated[Text, REFUSED]
    """Any of `torch.optim` whose step needs no closure."""
    lr: Above0
    """Base rate."""


class Schedule(Named):
    """`train.scheduler`: how the rate changes, and the schedule's options."""

    type: Annotated[Text, REFUSED]
    """BasicSR's, any of `torch.optim.lr_scheduler` whose step needs no metric, or
    `CosineAnnealingRestartCyclicLR` (`periods`, `restart_weights`, `eta_mins`)."""


class Loss(Named):
    """`train.<name>_opt`: a loss, logged as `l_<name>`, and its options."""


class Mixing(Section):
    """`train.mixing_augs`: mixup of training pairs."""

    mixup: bool = False
    """Blend each pair of a batch with another."""
    mixup_beta: Above0 = 1.2
    """β of the beta distribution that the weights are drawn from."""
    use_identity: bool = True
    """Leave every second batch, on average, as it is."""


class Contrast(Section):
    """`train.contrast`: what `ConStyleModel` keeps for its losses."""

    queue_size: Annotated[FromOne, REFUSED] = 65_760
    """Past codes kept as negatives."""
    momentum: Share = 0.999
    """Share of the momentum encoder that a step keeps."""
    normalize: bool = True
    """L2-normalise the codes that losses and queue see; the published recipe does not."""
    positive: Literal["clean", "degraded"] = "clean"
    """What a degraded image is compared with: its clean image, or, as in MoCo, another crop of it, which
    `second_crop: true` gives."""
    enqueue: Literal["query", "key"] = "query"
    """What enters the queue: the degraded images' codes, or (`key`) those of the positives."""


def _name_of_loss(key: str) -> str:
    if not key.endswith("_opt"):
        raise ValueError
    return key


class Train(Section):
    """`train`: optimizer, schedule, losses, and how a step is computed."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[Annotated[str, AfterValidator(_name_of_loss)], Loss | None]

    total_iter: Iterations
    """Iterations of the run."""
    optim_g: Optimizer
    """The optimizer."""
    scheduler: Schedule
    """The schedule of the rate."""
    warmup_iter: Whole = -1
    """Iterations in which the rate rises from 0; -1: none."""
    ema_decay: Below1 = 0
    """Decay of the EMA network, BatchNorm statistics included; 0: no EMA network."""
    pixel_opt: Loss | None = None
    """A loss of the restored image, such as `L1Loss`, logged as `l_pix`."""
    perceptual_opt: Loss | None = None
    """BasicSR's `PerceptualLoss`, logged as `l_percep` and `l_percep_style`."""
    contrastive_opt: Loss | None = None
    """InfoNCE of the codes: `InfoNCELoss`."""
    content_opt: Loss | None = None
    """Distance of the code to the clean image's: `ContentLoss`."""
    style_opt: Loss | None = None
    """Reversed distance of Gram matrices to degraded images': `StyleLoss`."""
    constyle_iter: IterationsFromZero | None = None
    """Iterations after which ConStyle is frozen. Left out: the whole run."""
    class_iter: IterationsFromZero = 50_000
    """Of `PrompterModel`: iterations in which losses see the classes."""
    kl_iter: IterationsFromZero = 999_999
    """Of `PrompterModel`: iterations in which losses see the clean images' scores."""
    contrast: Contrast = Contrast()
    """Momentum encoder and queue."""
    mixing_augs: Mixing = Mixing()
    """Mixup."""
    grad_clip_norm: Above0 | None = None
    """Largest total norm of the gradient. Left out: no clipping."""
    max_skipped_steps: Iterations = 10
    """The run stops after this many steps in a row without finite loss and gradient."""
    amp: Precision = "off"
    """Precision of convolutions and matrix products; the rest stays in float32."""
    channels_last: bool | None = None
    """Lay the network out so. Left out: as it was built; those of this package are channels-last."""
    compile: bool = False
    """Translate the network by `torch.compile`, which takes minutes at the start."""
    checkpointing: bool = False
    """Keep only each block's input for the backward pass: less memory, more time."""
    accumulate: FromOne = 1
    """Compute each batch in this many parts, for batches that memory would not hold."""


# `val`, `path`, `logger`


class Metric(Named):
    """`val.metrics.<name>`: a registered metric and its options."""

    type: Text
    """The metric's function, such as `calculate_psnr`."""
    better: Literal["higher", "lower"] = "higher"
    """Which of two scores is the better one."""


class Validation(Section):
    """`val`: restoring and scoring images."""

    save_img: bool
    """Write the restored images."""
    metrics: dict[Any, Metric] = Field(default_factory=dict)
    """Metrics by their names in results. In training the first, on the first set, decides the best network."""
    tile: FromOne | None = None
    """Restore in tiles of this side, in pixels. Left out: whole."""
    tile_overlap: FromZero = 32
    """Pixels by which tiles overlap."""
    amp: Precision = "off"
    """Precision to restore in."""
    save_comparison: bool = False
    """Write input, restored and clean image side by side."""
    pictures: FromZero = 3
    """In training, of how many images of a set such pictures are kept each time."""
    suffix: FolderName | None = None
    """What ends the names of a test's restored images. Left out: the run's `name`."""
    pbar: bool = False
    """Show a progress bar."""


class TrainingValidation(Validation):
    """`val` of a training; without the section nothing is measured."""

    val_freq: Iterations
    """Validate every so many iterations."""


class TestValidation(Validation):
    """`val` of a test."""

    val_freq: Iterations | None = None
    """Not used by a test."""


class Paths(Section):
    """`path`: weights and states to start from."""

    pretrain_network_g: Text | None = None
    """Weights to start from: a file, of this package, BasicSR or a release, or a trained network's name."""
    pretrain_constyle: Text | None = None
    """A prompter's weights, or those of a network that ConStyle guides, to take ConStyle from."""
    param_key_g: Text | None = None
    """Section of that file. Left out: `params_ema` where there is one, else `params`."""
    strict_load_g: bool = True
    """False loads what fits, from an original network as a warm start."""
    resume_state: Text | None = None
    """A training state to resume from; `--auto_resume` finds the newest by itself."""
    ignore_resume_networks: Any = None
    """BasicSR's; not used here."""


class TestPaths(Paths):
    """`path` of a test."""

    pretrain_network_g: Text
    """The weights to test: a file, or the name of a network that comes trained."""


class Logger(Section):
    """`logger`: what a training writes down."""

    print_freq: Iterations
    """Log every so many iterations."""
    save_checkpoint_freq: Iterations
    """Save every so many iterations."""
    use_tb_logger: bool
    """Write tensorboard logs."""
    wandb: dict[str, Any] | None = None
    """BasicSR's, which does not work with current wandb."""


# the file


class Network(Named):
    """`network_g`: the network and the options of its constructor."""


class Run(Section):
    """What every option file has at the top."""

    name: FolderName
    """The run's name, and that of its folder below `experiments` or `results`."""
    model_type: Annotated[Text, REFUSED]
    """`ConStyleModel` trains with ConStyle's contrast, `RestorationModel` any network without it,
    `PrompterModel` the encoder alone (ConStyle v2)."""
    num_gpu: Literal["auto"] | FromZero
    """`auto`: the GPU of each process if there is one, else the CPU; 0: the CPU."""
    scale: FromOne = 1
    """BasicSR's; restoration keeps an image's size."""
    manual_seed: Annotated[Seed | None, REFUSED] = None
    """Seed of all random numbers. Left out: one is drawn and logged."""
    datasets: dict[Any, Any]
    """`train`, `val` and `val_…` to train; `test` and `test_…` to test."""
    network_g: Annotated[Network, REFUSED]
    """The network."""
    find_unused_parameters: bool = False
    """Of DistributedDataParallel: for networks whose steps do not use every parameter."""
    dist_params: dict[str, Any] | None = None
    """Of `init_process_group`, under Slurm."""


class TrainingRun(Run):
    """The file of a training; the section `train` makes it one."""

    train: Train
    """Optimizer, schedule, losses, and how a step is computed."""
    path: Paths = Paths()
    """Weights and states to start from."""
    val: TrainingValidation | None = None
    """Measuring while training."""
    logger: Logger
    """What is written down."""


class TestRun(Run):
    """The file of a test."""

    path: TestPaths
    """The weights."""
    val: TestValidation
    """Restoring and scoring."""
    train: dict[str, Any] | None = None
    """Not used by a test."""
    logger: dict[str, Any] | None = None
    """Not used by a test."""


def paths_of(meaning: Resuming) -> list[str]:
    """The options with this meaning for resuming, such as `train.optim_g.type`; `.*` ends a section."""
    training = data_set("", trains=True)
    return [*_marked(TrainingRun, meaning, ""), *_marked(training, meaning, "datasets.train.")]


def _marked(model: type[Section], meaning: Resuming, where: str) -> list[str]:
    paths = []
    for key, field in model.model_fields.items():
        inner = section_in(field.annotation)
        if meaning in field.metadata:
            paths.append(f"{where}{key}{'.*' if inner else ''}")
        elif inner:
            paths += _marked(inner, meaning, f"{where}{key}.")
    return paths
