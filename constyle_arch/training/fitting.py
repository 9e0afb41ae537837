"""`basicsr init`: a training's options fitted to data, machine and time, in one commented file."""

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory
from typing import Any

import torch
import yaml
from torch import nn

from constyle_arch.checkpoints.trained import TRAINED
from constyle_arch.data.workers import available_cores
from constyle_arch.errors import DataError, OptionsError
from constyle_arch.inference.memory import free_memory
from constyle_arch.options.reading import OptionLoader, complete_datasets
from constyle_arch.reporting.complexity import PeakMemory, count_parameters, without_values
from constyle_arch.training.interruption import handlers_put_back
from constyle_arch.training.own_data import OwnData

TASKS = ("denoise", "derain", "dehaze", "deblur")

WITHOUT_PAIRS = {
    "denoise": "- {type: noise, sigma: [0, 50]}  # standard deviation in 1/255, drawn for each crop",
    "derain": "- {type: rain, density: [0.002, 0.01], length: [10, 30], angle: [-30, 30], brightness: [0.3, 0.8]}",
    "dehaze": "- {type: haze, beta: [0.6, 2.2], airlight: [0.7, 1.0]}",
    "deblur": "- {type: motion_blur, length: [1, 15], angle: [0, 180], turn: [-45, 45]}",
}
"""How clean photographs are degraded where there are no degraded ones; docs/data.md explains the quantities."""

TURNED = ("denoise", "dehaze")
"""Tasks whose crops may be turned by right angles: rain falls, and a camera's shake has a direction."""

ALIGNMENT = 16
"""Crops have a multiple of this many pixels a side: ConStyle's encoder halves four times."""

HELD_OUT_SHARE, HELD_OUT_MOST = 10, 12
"""One clean image of so many validates, two where there are at least six, and at most so many in all."""

VALIDATIONS, VALIDATIONS_LEAST = 10, 4
VALIDATION_SHARE = 0.15
"""Of the time, at most, as far as at least `VALIDATIONS_LEAST` are left."""

BESIDES = 1.15
"""A training's time over that of its steps: reading images, saving, logging. A guess on the safe side."""

ENOUGH_FOR_SMALL = 2000
"""Iterations below which the small network, where it starts from nothing, is behind the tiny one."""


@dataclass(frozen=True)
class Size:
    """A network and how it is trained: its options as they stand in a file, and the rate it begins with."""

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
"""`small` is the network of those that come trained; `base` is the paper's ConStyle-NAFNet with its recipe's batch."""


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
        start: the trained network that it starts from; empty for none.
        amp: whether it computes in bfloat16.
    """

    name: str
    task: str
    data: OwnData
    size: str
    crop: int
    batch: int
    hold_out: int
    workers: int
    start: str = ""
    amp: bool = False
    iterations: int = 1000
    validations: int = VALIDATIONS


@dataclass(frozen=True)
class Timing:
    """What was measured on this machine.

    Attributes:
        step: seconds of a training step.
        megapixel: seconds of restoring a million pixels.
        parameters: of the network.
        device: what computes, and in which precision.
    """

    step: float
    megapixel: float
    parameters: int
    device: str

    def minutes(self, settings: Settings) -> float:
        """What a training takes."""
        return (BESIDES * self.step * settings.iterations + self.validating(settings)) / 60

    def validating(self, settings: Settings) -> float:
        """Seconds that all validations of a training take."""
        held_out = settings.data.pairs / settings.hold_out
        return settings.validations * held_out * self.megapixel * settings.data.pixels / 1e6


def fit(
    name: str,
    task: str,
    data: OwnData,
    *,
    size: str | None = None,
    minutes: float | None = None,
    iterations: int | None = None,
) -> tuple[Settings, Timing]:
    """Choose a training's settings.

    Args:
        name: of the experiment.
        task: one of `TASKS`.
        data: the photographs.
        size: one of `SIZES`; None for one that the time allows.
        minutes: how long the training may take.
        iterations: instead, how many there are to be.

    Raises:
        DataError: there are too few images, or they are too small.
        OptionsError: the time does not do for a training.
    """
    settings = _first_settings(name, task, data, size or "small")
    timing = _timed(settings)
    settings = replace(settings, amp=timing.device.endswith("bf16"))
    settings = _in_time(settings, timing, minutes, iterations)
    if size is None and not settings.start and settings.iterations < ENOUGH_FOR_SMALL:
        return fit(name, task, data, size="tiny", minutes=minutes, iterations=iterations)
    return settings, timing


def _first_settings(name: str, task: str, data: OwnData, size: str) -> Settings:
    if data.clean < 2:
        raise DataError(f"--gt {data.gt} has {data.clean} image; a training needs 2 at least, one of them to validate.")
    gpu = torch.cuda.is_available()
    wanted = 128 if gpu or task == "dehaze" else SIZES[size].crop
    crop = min(wanted, data.shortest) // ALIGNMENT * ALIGNMENT
    if crop < 2 * ALIGNMENT:
        raise DataError(
            f"The shortest side of the images is {data.shortest} pixels; {2 * ALIGNMENT} are the least to train on."
        )
    held_out = min(max(round(data.clean / HELD_OUT_SHARE), 1 + (data.clean >= 6)), HELD_OUT_MOST)
    settings = Settings(
        name=name,
        task=task,
        data=data,
        size=size,
        crop=crop,
        batch=SIZES[size].batch,
        hold_out=max(data.clean // held_out, 2),
        workers=min(8, available_cores()) if gpu else 1 + (available_cores() >= 4),
        start=task if size == "small" and task in TRAINED else "",
    )
    return replace(settings, batch=_fitting_batch(settings))


def _in_time(settings: Settings, timing: Timing, minutes: float | None, iterations: int | None) -> Settings:
    """As many iterations as were asked for or as the time allows, and validations that do not eat it up."""
    if iterations is not None:
        return replace(settings, iterations=iterations, validations=min(VALIDATIONS, iterations))
    seconds = 60 * (minutes or 0)
    for validations in range(VALIDATIONS, VALIDATIONS_LEAST - 1, -1):
        settings = replace(settings, validations=validations)
        if timing.validating(settings) <= VALIDATION_SHARE * seconds:
            break
    possible = math.floor((seconds - timing.validating(settings)) / (BESIDES * timing.step))
    if possible < 10 * VALIDATIONS:
        least = replace(settings, iterations=10 * VALIDATIONS)
        raise OptionsError(
            f"--minutes {minutes:g} is not enough: a step takes {timing.step:.2f} s here and {least.iterations} are "
            f"the least that make sense, which is {timing.minutes(least):.1f} minutes. Give more, or a smaller --size."
        )
    return replace(settings, iterations=_round(possible))


def _round(number: float) -> int:
    """Down to two digits, at least 1."""
    digits = max(math.floor(math.log10(max(number, 1))) - 1, 0)
    return max(int(number // 10**digits * 10**digits), 1)


# What the machine does with it.


def _fitting_batch(settings: Settings) -> int:
    """The batch of the size, or as much of it as fits into memory, 2 at least."""
    network = _network(settings)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batch, room = settings.batch, 0.5 * free_memory(device)  # what is not counted is about as much again
    while batch > 2 and _memory_of_step(network, batch, settings.crop) > room:
        batch //= 2
    return batch


def _memory_of_step(network: nn.Module, batch: int, crop: int) -> float:
    """Bytes of a step's tensors, and of weights, gradients, Adam's two moments and the average."""
    with PeakMemory() as memory:
        copy = without_values(network).train()
        copy(torch.empty(batch, 3, crop, crop, device="meta")).mean().backward()
    return memory.peak + 5 * 4 * count_parameters(network)


def _network(settings: Settings) -> nn.Module:
    from basicsr.utils.registry import ARCH_REGISTRY

    options = yaml.safe_load(option_file(settings))["network_g"]
    network: nn.Module = ARCH_REGISTRY.get(options.pop("type"))(**options)
    return network


def _timed(settings: Settings) -> Timing:
    """Train a few steps on random images, and restore one, as the training will."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    amp = _computes_faster_in_bfloat16(device)
    with _model(replace(settings, amp=amp, start="")) as model:
        images = torch.rand(2, settings.batch, 3, settings.crop, settings.crop)
        numbers = iter(range(1, 1000))

        def step() -> None:
            model.feed_data({"lq": images[0], "gt": images[1]})
            model.optimize_parameters(next(numbers))

        seconds = _seconds_of(step, device)
        side = min(math.isqrt(settings.data.pixels) // ALIGNMENT * ALIGNMENT, 512)
        model.feed_data({"lq": torch.rand(1, 3, side, side)})
        restoring = _seconds_of(model.test, device)
        name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU with {available_cores()} cores"
        return Timing(
            step=seconds,
            megapixel=restoring / side**2 * 1e6,
            parameters=count_parameters(model.get_bare_model(model.net_g)),
            device=f"{name}, {'bf16' if amp else 'float32'}",
        )


@contextmanager
def _model(settings: Settings) -> Iterator[Any]:
    """The model that trains by a file, in this process, with nothing on disk."""
    from basicsr.models import build_model

    options: dict[str, Any] = yaml.load(option_file(settings), Loader=OptionLoader)
    options |= {"is_train": True, "dist": False, "rank": 0, "world_size": 1}
    options["num_gpu"] = int(torch.cuda.is_available())
    complete_datasets(options)
    with TemporaryDirectory() as folder, handlers_put_back():
        options["path"] |= {"models": folder, "training_states": folder}
        model = build_model(options)
        model.progress_line.close()
        yield model


def _seconds_of(work: Callable[[], object], device: torch.device, least: int = 3, enough: float = 4.0) -> float:
    """What `work` takes, once it is warm: the median of a few."""
    work()
    taken: list[float] = []
    while len(taken) < least or (sum(taken) < enough / 4 and len(taken) < 20):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
        if sum(taken) > enough:
            break
    return sorted(taken)[len(taken) // 2]


def _computes_faster_in_bfloat16(device: torch.device) -> bool:
    """Whether a convolution does; processors without such instructions are many times slower."""
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return False
    convolution = nn.Conv2d(64, 64, 3, padding=1).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    image = torch.rand(4, 64, 64, 64, device=device).contiguous(memory_format=torch.channels_last)
    seconds = []
    for enabled in (False, True):
        with torch.autocast(device.type, torch.bfloat16, enabled=enabled), torch.inference_mode():
            seconds.append(_seconds_of(lambda: convolution(image), device, enough=0.5))
    return seconds[1] < 0.75 * seconds[0]


# The file.


def option_file(settings: Settings) -> str:
    """The complete, commented option file."""
    data, size, total = settings.data, SIZES[settings.size], settings.iterations
    rate = size.rate / 2 if settings.start else size.rate
    every = max(total // settings.validations, 1)
    constant = total // 4
    # an average over a tenth of the training, at most over a thousand steps
    decay = 1 - min(max(round(10 / total, 4), 0.001), 0.1)
    queue = 2 ** min(max(round(math.log2(32 * data.pairs)), 9), 12 if settings.size != "base" else 16)
    ratio = max(math.ceil(200 * settings.batch / data.pairs), 1)
    start = f"{settings.start}  # it comes trained; ~ starts from nothing" if settings.start else "~"
    return f"""\
# {settings.task} with photographs of one's own, written by `basicsr init`: change what you like.
#   basicsr check -opt FILE                             what it would do
#   basicsr train -opt FILE                             --auto_resume resumes it
#   basicsr test --weights experiments/{settings.name}    scores the photographs held out
#   basicsr restore --weights experiments/{settings.name} -i PHOTOS -o restored
# Every option is explained in docs/options.md.

name: {json.dumps(settings.name, ensure_ascii=False)}  # the results are in experiments/ below this name
model_type: ConStyleModel
scale: 1
num_gpu: auto  # a GPU if there is one, else the CPU
manual_seed: 100

datasets:
  train:
    name: train
{_sources(settings)}    gt_size: {settings.crop}  # side of the crops; images have {data.shortest} or more
    use_hflip: true
    use_rot: {str(settings.task in TURNED).lower()}
    batch_size_per_gpu: {settings.batch}  # lower it where memory runs out
    num_worker_per_gpu: {settings.workers}  # processes that read images
    dataset_enlarge_ratio: {ratio}  # an epoch goes through the images so often
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
  amp: {"bf16  # computes in bfloat16, which was faster on this machine" if settings.amp else "off  # or bf16"}
  ema_decay: {decay:g}  # the average of the weights, which is what is validated and restored with
  optim_g:
    type: AdamW
    lr: {rate:.5f}  # half of it where a training diverges
    weight_decay: 0.0001
    betas: [0.9, 0.999]
  scheduler:  # a quarter at this rate, then down to nearly nothing
    type: CosineAnnealingRestartCyclicLR
    periods: [{constant or 1}, {total - constant}]
    restart_weights: [1, 1]
    eta_mins: [{rate:.5f}, 0.000001]
  contrast:
    queue_size: {queue}  # codes of past images to tell from; about 32 an image, {queue} at most
    normalize: true
  pixel_opt:
    type: L1Loss
    loss_weight: 1
    reduction: mean
  contrastive_opt:  # ConStyle's three losses, with the weight of the networks that come trained
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
  metrics:  # the first decides which network is the best
    psnr:
      type: calculate_psnr
      crop_border: 0
      test_y_channel: false
    ssim:
      type: calculate_ssim
      crop_border: 0
      test_y_channel: false

logger:
  print_freq: {min(max(_round(total / 100), 1), 200)}
  save_checkpoint_freq: {every}
  use_tb_logger: false
"""


def _sources(settings: Settings) -> str:
    """Where a data set's images lie, four spaces deep; paths are quoted as JSON, which YAML reads."""
    data = settings.data
    quoted = {key: json.dumps(value, ensure_ascii=False) for key, value in vars(data).items()}
    if data.lq is None:
        lines = ["type: DegradedImageDataset", f"dataroot_gt: {quoted['gt']}", "degradations:  # of the clean images"]
        lines += [f"  {WITHOUT_PAIRS[settings.task]}"]
    else:
        lines = ["type: PairedRestorationDataset", f"dataroot_gt: {quoted['gt']}", f"dataroot_lq: {quoted['lq']}"]
        lines += [f"lq_name: {quoted['lq_name']}", f"gt_name: {quoted['gt_name']}"]
    held_out = f"hold_out: {settings.hold_out}  # every so many-th clean image validates and is not trained on"
    return "".join(f"    {line}\n" for line in (*lines, held_out))
