"""The option file of a training with somebody's photographs: complete, and commented."""

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command's parser reads this module, and need not wait for images' libraries
    from constyle_arch.training.own_data import OwnData

VALIDATIONS = 10
"""Of a training, by default."""

TASKS = ("denoise", "derain", "dehaze", "deblur")

WITHOUT_PAIRS = {
    "denoise": "- {type: noise, sigma: [0, 50]}  # deviation in 1/255, drawn for each crop",
    "derain": "- {type: rain, density: [0.002, 0.01], length: [10, 30], angle: [-30, 30], "
    "brightness: [0.3, 0.8]}",
    "dehaze": "- {type: haze, beta: [0.6, 2.2], airlight: [0.7, 1.0]}",
    "deblur": "- {type: motion_blur, length: [1, 15], angle: [0, 180], turn: [-45, 45]}",
}
"""How clean photographs are degraded where there are no degraded ones; docs/data.md explains the
quantities."""

TURNED = ("denoise", "dehaze")
"""Tasks whose crops may be turned by right angles: rain falls, and a camera's shake has a
direction."""


@dataclass(frozen=True)
class Size:
    """A network, its options as text of a file, and how it is trained."""

    network: str
    rate: float
    crop: int
    batch: int


SIZES = {
    "tiny": Size(
        "type: ConStyleConv\n  dim: 16\n  activation: leaky_relu\n  num_blocks_down: [1, 1, 1]\n"
        "  num_blocks_bottleneck: 1\n  num_blocks_up: [1, 1, 1]",
        rate=1e-3,
        crop=64,
        batch=8,
    ),
    "small": Size(
        "type: ConStyleConv\n  dim: 32\n  activation: leaky_relu\n  num_blocks_down: [2, 2, 1]\n"
        "  num_blocks_bottleneck: 1\n  num_blocks_up: [1, 1, 2]",
        rate=8e-4,
        crop=64,
        batch=8,
    ),
    "base": Size(
        "type: ConStyleNAFNet\n  dim: 48\n  num_blocks_down: [7, 8, 9]\n"
        "  num_blocks_bottleneck: 9\n  num_blocks_up: [9, 8, 7]\n  num_refinement_blocks: 0",
        rate=3e-4,
        crop=128,
        batch=16,
    ),
}
"""`small` is the pretrained networks'; `base` is the paper's ConStyle-NAFNet with its
recipe's batch."""


@dataclass(frozen=True)
class Settings:
    """All that a training's file says.

    Attributes:
        name: of the experiment.
        task: one of `TASKS`.
        data: the photographs.
        size: one of `SIZES`.
        crop: side of the crops, in pixels.
        batch: crops in a step.
        hold_out: every so many-th clean image validates.
        iterations: of the training.
        validations: how often it is validated.
        workers: processes that read images.
        start: the pretrained network that it starts from; empty for none.
        amp: whether it computes in bfloat16.
    """

    name: str
    task: str
    data: "OwnData"
    size: str
    crop: int
    batch: int
    hold_out: int
    workers: int
    start: str = ""
    amp: bool = False
    iterations: int = 1000
    validations: int = VALIDATIONS


def option_file(settings: Settings) -> str:
    """The complete, commented option file."""
    data, size, total = settings.data, SIZES[settings.size], settings.iterations
    rate = size.rate / 2 if settings.start else size.rate
    every = max(total // settings.validations, 1)
    constant = total // 4
    # an average over a tenth of the training, at most over a thousand steps
    decay = 1 - min(max(round(10 / total, 4), 0.001), 0.1)
    # about 32 codes an image
    most = 16 if settings.size == "base" else 12
    queue = 2 ** min(max(round(math.log2(32 * data.pairs)), 9), most)
    ratio = max(math.ceil(200 * settings.batch / data.pairs), 1)
    start = f"{settings.start}  # pretrained; ~ starts from scratch" if settings.start else "~"
    return f"""\
# {settings.task} on your own photographs, written by `basicsr init`. Every option can be changed.
#   basicsr check -opt FILE: describes the run
#   basicsr train -opt FILE: trains; --auto_resume resumes
#   basicsr test --weights experiments/{settings.name}: scores the held-out photographs
#   basicsr restore --weights experiments/{settings.name} -i PHOTOS -o restored
# docs/reference/keys.md explains each option.

name: {json.dumps(settings.name, ensure_ascii=False)}  # the folder in experiments/
model_type: ConStyleModel
scale: 1
num_gpu: auto  # a GPU if there is one, else the CPU
manual_seed: 100

datasets:
  train:
    name: train
{_sources(settings)}    gt_size: {settings.crop}  # in pixels; the smallest image: {data.shortest}
    use_hflip: true
    use_rot: {str(settings.task in TURNED).lower()}
    batch_size_per_gpu: {settings.batch}  # reduce it if memory runs out
    num_worker_per_gpu: {settings.workers}  # processes that load images
    dataset_enlarge_ratio: {ratio}  # passes through the images in an epoch
  val:
    name: held-out
{_sources(settings)}
network_g:
  {size.network}

path:
  pretrain_network_g: {start}
  strict_load_g: true
  resume_state: ~

train:
  total_iter: {total}
  amp: {"bf16  # bfloat16, faster on this machine" if settings.amp else "off  # or bf16"}
  ema_decay: {decay:g}  # moving average of the weights, used to validate and restore
  optim_g:
    type: AdamW
    lr: {rate:.5f}  # halve it if the training diverges
    weight_decay: 0.0001
    betas: [0.9, 0.999]
  scheduler:  # constant for a quarter, then cosine decay to nearly 0
    type: CosineAnnealingRestartCyclicLR
    periods: [{constant or 1}, {total - constant}]
    restart_weights: [1, 1]
    eta_mins: [{rate:.5f}, 0.000001]
  contrast:
    queue_size: {queue}  # negatives: codes of past images
    normalize: true
  pixel_opt:
    type: L1Loss
    loss_weight: 1
    reduction: mean
  contrastive_opt:  # ConStyle's three losses, weighted as for the pretrained networks
    type: InfoNCELoss
    temperature: 0.07
    loss_weight: 0.01
  content_opt:
    type: ContentLoss
    loss_weight: 0.01
  style_opt:
    type: StyleLoss
    loss_weight: 0.01

val:
  val_freq: {every}
  save_img: false
  metrics:  # the first selects the best network
    psnr:
      type: calculate_psnr
      crop_border: 0
      test_y_channel: false
    ssim:
      type: calculate_ssim
      crop_border: 0
      test_y_channel: false

logger:
  print_freq: {min(max(round_down(total / 100), 1), 200)}
  save_checkpoint_freq: {every}
  use_tb_logger: false
"""


def _sources(settings: Settings) -> str:
    """A data set's images, four spaces deep; paths are quoted as JSON, which YAML reads."""
    data = settings.data
    quoted = {key: json.dumps(value, ensure_ascii=False) for key, value in vars(data).items()}
    if data.lq is None:
        lines = [
            "type: DegradedImageDataset",
            f"dataroot_gt: {quoted['gt']}",
            "degradations:  # of the clean images",
            f"  {WITHOUT_PAIRS[settings.task]}",
        ]
    else:
        lines = [
            "type: PairedRestorationDataset",
            f"dataroot_gt: {quoted['gt']}",
            f"dataroot_lq: {quoted['lq']}",
            f"lq_name: {quoted['lq_name']}",
            f"gt_name: {quoted['gt_name']}",
        ]
    held_out = f"hold_out: {settings.hold_out}  # every N-th clean image is for validation only"
    return "".join(f"    {line}\n" for line in (*lines, held_out))


def round_down(number: float) -> int:
    """Down to two digits, at least 1."""
    digits = max(math.floor(math.log10(max(number, 1))) - 1, 0)
    return max(int(number // 10**digits * 10**digits), 1)
