"""`basicsr check`: what a run would do, without doing it."""

import math
from pathlib import Path
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY
from torch import nn

from constyle_arch.models.acceleration import Acceleration
from constyle_arch.options.reading import Options, complete_paths, read_checked_options
from constyle_arch.reporting.complexity import SIDE, PeakMemory, count_gmacs, count_parameters
from constyle_arch.training.experiments import state_to_resume

GIGABYTE = 2**30


def check_run(flags: list[str]) -> str:
    """Check an option file as a run would, and describe the run.

    Args:
        flags: the command line after `check`, as `options.add_run_arguments` describes it.

    Raises:
        OptionsError: the options cannot be run; the message lists every problem.
    """
    options, _ = read_checked_options(flags)
    if options["is_train"] and (options["auto_resume"] or options["path"].get("resume_state")):
        options |= {"rank": 0, "world_size": 1}
        complete_paths(options, Path.cwd())
        found = state_to_resume(options)
        done = found.state["iter"] if found else 0
        return "\n".join([*_lines(options), f"  resumes      from iteration {done}"]) + "\n"
    return "\n".join(_lines(options)) + "\n"


def _lines(options: Options) -> list[str]:
    network_opt = dict(options["network_g"])
    with torch.device("meta"):
        network = ARCH_REGISTRY.get(network_opt.pop("type"))(**network_opt)
    gmacs = count_gmacs(network)
    lines = [
        f"{options['name']}: nothing stands against this {'training' if options['is_train'] else 'test'}.",
        f"  network      {type(network).__name__}, {count_parameters(network) / 1e6:.3f} M parameters"
        + (f", {gmacs:.2f} GMACs for {SIDE}×{SIDE} pixels" if gmacs is not None else ""),
        f"  device       {'GPU' if options['num_gpu'] else 'CPU'}",
    ]
    for phase, dataset_opt in options["datasets"].items():
        images = len(DATASET_REGISTRY.get(dataset_opt["type"])(dataset_opt))
        lines.append(f"  {phase:<12} {dataset_opt['name']}, {images} images")
        if phase == "train":
            lines += _training_lines(options, images, network)
    return lines


def _training_lines(options: Options, images: int, network: nn.Module) -> list[str]:
    train_opt, dataset_opt = options["train"], options["datasets"]["train"]
    batch = dataset_opt["batch_size_per_gpu"]
    iterations = math.ceil(images * dataset_opt.get("dataset_enlarge_ratio", 1) / batch)
    total = int(train_opt["total_iter"])
    lines = [
        f"  iterations   {total}, {iterations} an epoch with {batch} images each in one process: "
        f"{total / iterations:.1f} epochs"
    ]
    size = dataset_opt.get("gt_size")
    memory = _memory_of_step(network, train_opt, batch, size) if size else None
    if memory is not None:
        lines.append(
            f"  memory       about {memory / GIGABYTE:.1f} GiB for a step of {batch} images of {size}×{size} pixels, "
            "besides the program"
        )
    return lines


def _memory_of_step(network: nn.Module, train_opt: dict[str, Any], batch: int, size: int) -> float | None:
    """Bytes of a training step in float32: weights and what is kept for each, and the peak of all that is computed.

    Shapes alone are computed. None for a network that cannot run so.
    """
    acceleration = Acceleration.from_options({**train_opt, "compile": False})
    acceleration.prepare(network)
    try:
        with PeakMemory() as memory:
            part = torch.empty(batch // acceleration.accumulate, 3, size, size, device="meta")
            network.train()(part).mean().backward()
    except (NotImplementedError, RuntimeError):
        return None
    weights = sum(parameter.nbytes for parameter in network.parameters())
    copies = 3 + (train_opt.get("ema_decay", 0) > 0)  # weights, two moments of Adam's kind, EMA
    queue = 4 * 128 * (train_opt.get("contrast") or {}).get("queue_size", 0)
    return memory.peak + copies * weights + queue
