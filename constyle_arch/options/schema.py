"""The options of a run: a class for each section of its file, a field for each key.

A field states its type, bounds and default, and the text below it describes it. The check of a file
(`structure`), docs/reference/keys.md, the JSON schema for editors (`json_schema`) and what may
change when a run resumes (`training.resuming`) all follow from these.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field

from constyle_arch.options.kinds import (
    REFUSED,
    Above0,
    Below1,
    FolderName,
    FromOne,
    FromZero,
    Iterations,
    IterationsFromZero,
    Precision,
    Section,
    Seed,
    Share,
    Text,
    Whole,
)


class Named(Section):
    """A registered component by its `type`, and the options of its constructor."""

    model_config = ConfigDict(extra="allow")

    type: Text
    """The name under which it is registered."""


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
    """β of the weights' beta distribution."""
    use_identity: bool = True
    """Leave every second batch, on average, unchanged."""


class Contrast(Section):
    """`train.contrast`: momentum encoder and queue of `ConStyleModel`."""

    queue_size: Annotated[FromOne, REFUSED] = 65_760
    """Past codes kept as negatives."""
    momentum: Share = 0.999
    """Share of the momentum encoder kept by a step."""
    normalize: bool = True
    """L2-normalise the codes of losses and queue; the published recipe does not."""
    positive: Literal["clean", "degraded"] = "clean"
    """Positive of a degraded image: its clean image, or, as in MoCo, another crop of it, from
    `second_crop: true`."""
    enqueue: Literal["query", "key"] = "query"
    """What enters the queue: codes of degraded images (`query`) or of positives (`key`)."""


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
    """Iterations of linear warm-up; -1: none."""
    ema_decay: Below1 = 0
    """Decay of the EMA, BatchNorm statistics included; 0: no EMA."""
    pixel_opt: Loss | None = None
    """A loss of the restored image, such as `L1Loss`, logged as `l_pix`."""
    perceptual_opt: Loss | None = None
    """BasicSR's `PerceptualLoss`, logged as `l_percep` and `l_percep_style`."""
    contrastive_opt: Loss | None = None
    """InfoNCE of the codes: `InfoNCELoss`."""
    content_opt: Loss | None = None
    """Distance of the code to the clean image's: `ContentLoss`."""
    style_opt: Loss | None = None
    """Negated distance of Gram matrices to degraded images': `StyleLoss`."""
    constyle_iter: IterationsFromZero | None = None
    """Iterations after which ConStyle is frozen. Left out: the whole run."""
    class_iter: IterationsFromZero = 50_000
    """`PrompterModel`: iterations with the loss of classes."""
    kl_iter: IterationsFromZero = 999_999
    """`PrompterModel`: iterations with the distance to the clean images' classes."""
    contrast: Contrast = Contrast()
    """Momentum encoder and queue."""
    mixing_augs: Mixing = Mixing()
    """Mixup."""
    grad_clip_norm: Above0 | None = None
    """Clip the gradient's norm to this. Left out: no clipping."""
    max_skipped_steps: Iterations = 10
    """Stop after this many steps in a row whose loss or gradient is not finite."""
    amp: Precision = "off"
    """Precision of convolutions and matrix products."""
    channels_last: bool | None = None
    """Memory format. Left out: as built; this package's networks are channels-last."""
    compile: bool = False
    """Use `torch.compile`, which takes minutes at the start."""
    checkpointing: bool = False
    """Gradient checkpointing of each block: less memory, more time."""
    accumulate: FromOne = 1
    """Compute each batch in this many parts: less memory."""
    sync_bn: bool = False
    """ConStyle's BatchNorm sees the batches of all processes together."""

    @property
    def constyle_iterations(self) -> int:
        """Iterations in which ConStyle trains; more than the run has, where it is never frozen."""
        return self.total_iter if self.constyle_iter is None else self.constyle_iter


# `val`, `path`, `logger`


class Metric(Named):
    """`val.metrics.<name>`: a registered metric and its options."""

    type: Text
    """The metric's function, such as `calculate_psnr`."""
    better: Literal["higher", "lower"] = "higher"
    """Which scores are better."""


class Validation(Section):
    """`val`: restoring and scoring images."""

    save_img: bool
    """Write the restored images."""
    metrics: dict[Any, Metric] = Field(default_factory=dict)
    """Metrics by their names in results. The first, on the first set, decides the best network."""
    tile: FromOne | None = None
    """Side of tiles, in pixels. Left out: whole images."""
    tile_overlap: FromZero = 32
    """Overlap of tiles, in pixels."""
    tlc: FromZero | Literal["auto"] | None = None
    """Side of the windows, in pixels, over which channel attention takes its statistics (TLC); 0:
    the whole image; `auto`: one and a half of the training's crops. Left out: 0, or in a test what
    the weights' file notes."""
    amp: Precision = "off"
    """Precision to restore in."""
    save_comparison: bool = False
    """Write input, restored and clean image side by side."""
    pictures: FromZero = 3
    """Such pictures of each validation in training, for each set."""
    suffix: FolderName | None = None
    """Appended to the names of a test's images. Left out: the run's `name`."""
    pbar: bool = False
    """Show a progress bar."""


class TrainingValidation(Validation):
    """`val` of a training; without the section nothing is measured."""

    val_freq: Iterations
    """Iterations between validations."""


class TestValidation(Validation):
    """`val` of a test."""

    val_freq: Iterations | None = None
    """Not used by a test."""


def validation_of(options: Mapping[str, Any]) -> Validation:
    """`val` of a run; without the section, whole images and no metrics."""
    if not options.get("val"):
        return Validation(save_img=False)
    return (TrainingValidation if options["is_train"] else TestValidation).read(options["val"])


class Paths(Section):
    """`path`: weights and states to start from."""

    pretrain_network_g: Text | None = None
    """Weights to start from: a file of any origin, an experiment or a pretrained network's name."""
    pretrain_constyle: Text | None = None
    """Weights to take ConStyle from: a prompter's or a guided network's."""
    param_key_g: Text | None = None
    """Section of that file. Left out: `params_ema` where there is one, else `params`."""
    strict_load_g: bool = True
    """`false` loads what fits, from an original network as a warm start."""
    resume_state: Text | None = None
    """A training state to resume from; `--auto_resume` finds the newest."""
    ignore_resume_networks: Any = None
    """BasicSR's; not used here."""


class TestPaths(Paths):
    """`path` of a test."""

    pretrain_network_g: Text
    """The weights to test: a file, or the name of a pretrained network."""


class RunPaths(Paths):
    """`path` during a run: BasicSR keeps its folders there; see `reading.complete_paths`."""

    pretrain_network_constyle: Text | None = None
    """`pretrain_constyle`, under a name of which BasicSR makes no folder."""
    models: str = ""
    """Folder of a training's networks and of what its validations measured."""
    training_states: str = ""
    """Folder of a training's states."""
    visualization: str = ""
    """Folder of pictures."""
    results_root: str = ""
    """Folder of a test."""


class Logger(Section):
    """`logger`: what a training logs and saves."""

    print_freq: Iterations
    """Iterations between log entries."""
    save_checkpoint_freq: Iterations
    """Iterations between checkpoints."""
    keep_checkpoints: FromOne | None = None
    """Checkpoints to keep besides `best` and `latest`; older ones are removed with their states.
    Left out: all."""
    use_tb_logger: bool
    """Write tensorboard logs."""
    wandb: dict[str, Any] | None = None
    """`project`, and `resume_id` of a run to resume: wandb, if installed, shows tensorboard's
    curves."""


# the file


class Network(Named):
    """`network_g`: the network and the options of its constructor."""


class Run(Section):
    """What every option file has at the top."""

    name: FolderName
    """The run's name and that of its folder in `experiments` or `results`."""
    model_type: Annotated[Text, REFUSED]
    """`ConStyleModel`: with ConStyle's contrast. `RestorationModel`: any network without it.
    `PrompterModel`: the encoder alone (ConStyle v2)."""
    num_gpu: Literal["auto"] | FromZero
    """`auto`: a GPU for each process if there is one; 0: the CPU."""
    scale: FromOne = 1
    """BasicSR's; 1 for restoration."""
    manual_seed: Annotated[Seed | None, REFUSED] = None
    """Left out: one is drawn and logged."""
    datasets: dict[Any, Any]
    """`train`, `val` and `val_…` to train; `test` and `test_…` to test."""
    network_g: Annotated[Network, REFUSED]
    """The network."""
    find_unused_parameters: bool = False
    """DistributedDataParallel's, for networks that do not use every parameter."""
    dist_params: dict[str, Any] | None = None
    """Arguments of `init_process_group`, under Slurm."""


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
