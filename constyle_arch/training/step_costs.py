"""What a training takes: memory, time on a CPU and disk; nothing is trained."""

import math
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from constyle_arch.archs.constyle_arch import CODE_CHANNELS
from constyle_arch.archs.fused import use_fused
from constyle_arch.archs.general_restoration_arch import GuidedNetwork
from constyle_arch.archs.layers import channels_of
from constyle_arch.models.acceleration import Acceleration
from constyle_arch.models.constyle_model import ConStyleModel
from constyle_arch.options.lookup import Options, is_subclass, model_of
from constyle_arch.options.schema import Logger, Train
from constyle_arch.reporting.complexity import PeakMemory, shapes_of

TIMED_SIDE = 32
"""Of the crops of a step that is timed, in pixels."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a training step takes.

    Attributes:
        fixed: bytes of weights, of what is kept for each, and of the queue.
        computed: bytes of what is computed, at its peak, for the whole batch at a time.
        parts: in how many parts it is computed, `train.accumulate`.
        seconds: on this machine's CPU; None on a GPU, and where it is not timed.
    """

    fixed: float
    computed: float
    parts: int
    seconds: float | None

    @property
    def memory(self) -> float:
        """Bytes of a step."""
        return self.fixed + self.computed / self.parts


@dataclass(frozen=True, kw_only=True)
class Disk:
    """What a training writes, in bytes.

    Attributes:
        network: of one file of the network.
        state: of one training state.
        count: how many of both there are at the end, besides the latest and the best network.
        free: what the disk has left.
    """

    network: float
    state: float
    count: int
    free: float

    @property
    def needed(self) -> float:
        """Bytes of all."""
        return self.count * (self.network + self.state) + 2 * self.network


def network_of(options: Options) -> nn.Module:
    """The network that a run's options name, new."""
    network_opt = dict(options["network_g"])
    network: nn.Module = ARCH_REGISTRY.get(network_opt.pop("type"))(**network_opt)
    return network


def step_of(options: Options, *, timed: bool) -> Step | None:
    """What a step of a training takes. For its memory the tensors' shapes alone are computed.

    None for a data set without `gt_size` and for a network that cannot run so.

    Args:
        options: of a training, checked.
        timed: whether to time a step on the CPU.
    """
    train, loader = Train.read(options["train"]), options["datasets"]["train"]
    batch, size = loader["batch_size_per_gpu"], loader.get("gt_size")
    if not size:
        return None
    acceleration = replace(Acceleration.of(train), compile=False)
    network = shapes_of(lambda: network_of(options))
    acceleration.prepare(network)
    if options["num_gpu"]:
        use_fused(network, False)
    try:
        with PeakMemory() as memory:
            shape = batch // train.accumulate, channels_of(network), size, size
            part = torch.empty(shape, device="meta")
            network.train()(part).mean().backward()
    except Exception:  # a prompter's result has no mean, networks for videos take five axes, …
        return None
    weights = sum(parameter.nbytes for parameter in network.parameters())
    copies = 3 + (train.ema_decay > 0)  # weights, two moments of Adam's kind, EMA
    return Step(
        fixed=copies * weights + _queue(train),
        computed=memory.peak * train.accumulate,
        parts=train.accumulate,
        seconds=_seconds_of_step(network_of(options), acceleration, batch, size) if timed else None,
    )


def disk_of(options: Options) -> Disk:
    """What the run writes, with two moments of each weight in a training state."""
    train, logger = Train.read(options["train"]), Logger.read(options["logger"])
    network = shapes_of(lambda: network_of(options))
    contrast = 0
    if isinstance(network, GuidedNetwork) and is_subclass(model_of(options), ConStyleModel):
        contrast = _bytes_of(network.encoder) + _queue(train)
    saved = math.ceil(train.total_iter / logger.save_checkpoint_freq)
    return Disk(
        network=_bytes_of(network) * (2 if train.ema_decay else 1),
        state=2 * sum(parameter.nbytes for parameter in network.parameters()) + contrast,
        count=min(saved, logger.keep_checkpoints or saved),
        free=shutil.disk_usage(Path.cwd()).free,
    )


def _bytes_of(network: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in network.state_dict().values())


def _queue(train: Train) -> int:
    """Bytes of the queue; none where the file has no contrast."""
    has_queue = "contrast" in train.model_fields_set
    return 4 * CODE_CHANNELS * train.contrast.queue_size if has_queue else 0


def _seconds_of_step(
    network: nn.Module, acceleration: Acceleration, batch: int, size: int
) -> float:
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
