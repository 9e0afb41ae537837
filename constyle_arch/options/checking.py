"""`basicsr check`: what a run would do, without doing it."""

import math
import shutil
import time
from pathlib import Path

import torch
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY
from torch import nn

from constyle_arch.archs.constyle_arch import CODE_CHANNELS
from constyle_arch.archs.general_restoration_arch import GuidedNetwork
from constyle_arch.archs.layers import channels_of
from constyle_arch.inference.memory import free_memory
from constyle_arch.models.acceleration import Acceleration
from constyle_arch.models.constyle_model import ConStyleModel
from constyle_arch.options.cautions import Disk, Step, cautions, in_words, size_in_words
from constyle_arch.options.lookup import is_subclass, model_of
from constyle_arch.options.reading import Options, complete_paths, read_checked_options
from constyle_arch.reporting import SIDE
from constyle_arch.reporting.complexity import PeakMemory, count_gmacs, count_parameters
from constyle_arch.training.experiments import state_to_resume

TIMED_SIDE = 32
"""Of the crops of a step that is timed, in pixels."""


def check_run(flags: list[str]) -> str:
    """Check an option file as a run would, and describe the run.

    Args:
        flags: the command line after `check`, as `options.add_run_arguments` describes it.

    Raises:
        OptionsError: the options cannot be run; the message lists every problem.
    """
    options, _ = read_checked_options(flags)
    step = _step(options) if options["is_train"] else None
    device = torch.device("cuda" if options["num_gpu"] else "cpu")
    disk = _disk(options) if options["is_train"] else None
    doubts = list(cautions(options, step, free_memory(device), disk, torch.cuda.device_count()))
    lines = _lines(options, step)
    if disk:
        lines.append(f"  disk         about {size_in_words(disk.needed)}, for {disk.count} checkpoints")
    if options["is_train"] and (options["auto_resume"] or options["path"].get("resume_state")):
        options |= {"rank": 0, "world_size": 1}
        complete_paths(options, Path.cwd())
        found = state_to_resume(options)
        lines.append(f"  resumes      from iteration {found.state['iter'] if found else 0}")
    kind = "training" if options["is_train"] else "test"
    first = f"nothing stands against this {kind}." if not doubts else f"this {kind} can be run, but look at this first:"
    return "\n".join([f"{options['name']}: {first}", *(f"  - {doubt}" for doubt in doubts), *lines]) + "\n"


def _lines(options: Options, step: Step | None) -> list[str]:
    with torch.device("meta"):
        network = _network(options)
    gmacs = count_gmacs(network)
    lines = [
        f"  network      {type(network).__name__}, {count_parameters(network) / 1e6:.3f} M parameters"
        + (f", {gmacs:.2f} GMACs for {SIDE}×{SIDE} pixels" if gmacs is not None else ""),
        f"  device       {'GPU' if options['num_gpu'] else 'CPU'}",
    ]
    for phase, dataset_opt in options["datasets"].items():
        images = len(DATASET_REGISTRY.get(dataset_opt["type"])(dataset_opt))
        lines.append(f"  {phase:<12} {dataset_opt['name']}, {images} images")
        if phase == "train":
            lines += _training_lines(options, images, step)
    return lines


def _network(options: Options) -> nn.Module:
    network_opt = dict(options["network_g"])
    return ARCH_REGISTRY.get(network_opt.pop("type"))(**network_opt)


def _training_lines(options: Options, images: int, step: Step | None) -> list[str]:
    train_opt, dataset_opt = options["train"], options["datasets"]["train"]
    batch = dataset_opt["batch_size_per_gpu"]
    iterations = math.ceil(images * dataset_opt.get("dataset_enlarge_ratio", 1) / batch)
    total = int(train_opt["total_iter"])
    lines = [
        f"  iterations   {total}, {iterations} an epoch with {batch} images each in one process: "
        f"{total / iterations:.1f} epochs"
    ]
    if step:
        size = dataset_opt["gt_size"]
        lines.append(
            f"  memory       about {size_in_words(step.memory)} for a step of {batch} images of {size}×{size} "
            "pixels, besides the program"
        )
        if step.seconds:
            lines.append(
                f"  time         about {in_words(step.seconds)} for a step on this CPU, "
                f"{in_words(step.seconds * total)} for all"
            )
    return lines


def _step(options: Options) -> Step | None:
    """What a training step takes; None for a data set without `gt_size` and for a network that cannot run so."""
    train_opt, dataset_opt = options["train"], options["datasets"]["train"]
    batch, size = dataset_opt["batch_size_per_gpu"], dataset_opt.get("gt_size")
    if not size:
        return None
    acceleration = Acceleration.from_options({**train_opt, "compile": False})
    with torch.device("meta"):
        network = _network(options)
    acceleration.prepare(network)
    try:
        with PeakMemory() as memory:
            shape = (batch // acceleration.accumulate, channels_of(network), size, size)
            part = torch.empty(shape, device="meta")
            network.train()(part).mean().backward()
    except (NotImplementedError, RuntimeError, AttributeError):  # a prompter's result has no mean
        return None
    weights = sum(parameter.nbytes for parameter in network.parameters())
    copies = 3 + (train_opt.get("ema_decay", 0) > 0)  # weights, two moments of Adam's kind, EMA
    return Step(
        fixed=copies * weights + _queue(options),
        computed=memory.peak * acceleration.accumulate,
        parts=acceleration.accumulate,
        seconds=None if options["num_gpu"] else _seconds_of_step(_network(options), acceleration, batch, size),
    )


def _disk(options: Options) -> Disk:
    """What the run writes, with two moments of each weight in a training state."""
    train_opt, logger_opt = options["train"], options["logger"]
    with torch.device("meta"):
        network = _network(options)
    tensors = _bytes_of(network)
    contrast = 0
    if isinstance(network, GuidedNetwork) and is_subclass(model_of(options), ConStyleModel):
        contrast = _bytes_of(network.encoder) + _queue(options)
    saved = math.ceil(train_opt["total_iter"] / logger_opt["save_checkpoint_freq"])
    return Disk(
        network=tensors * (2 if train_opt.get("ema_decay") else 1),
        state=2 * sum(parameter.nbytes for parameter in network.parameters()) + contrast,
        count=min(saved, logger_opt.get("keep_checkpoints") or saved),
        free=shutil.disk_usage(Path.cwd()).free,
    )


def _bytes_of(network: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in network.state_dict().values())


def _queue(options: Options) -> int:
    """Bytes of the queue."""
    return 4 * CODE_CHANNELS * int((options["train"].get("contrast") or {}).get("queue_size", 0))


def _seconds_of_step(network: nn.Module, acceleration: Acceleration, batch: int, size: int) -> float:
    """Seconds of a step on this CPU, from one with small crops, in proportion to their pixels."""
    acceleration.prepare(network.train())
    side = min(size, TIMED_SIDE)
    images = torch.rand(2, channels_of(network), side, side)
    for _ in range(2):  # the first one sets kernels up
        start = time.perf_counter()
        with acceleration.autocast(images.device):
            restored = network(images)
        restored.float().mean().backward()
    return (time.perf_counter() - start) * batch * size**2 / (len(images) * side**2)
