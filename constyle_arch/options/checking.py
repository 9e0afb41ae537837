"""`basicsr check`: what a run would do, without doing it."""

import math
from pathlib import Path

import torch
from basicsr.utils.registry import DATASET_REGISTRY

from constyle_arch.errors import OptionsError
from constyle_arch.inference.memory import free_memory
from constyle_arch.options.cautions import cautions, in_words, size_in_words
from constyle_arch.options.combinations import check_experiment
from constyle_arch.options.reading import Options, complete_paths, read_checked_options
from constyle_arch.reporting import SIDE
from constyle_arch.reporting.complexity import count_gmacs, count_parameters, shapes_of
from constyle_arch.training.experiments import state_to_resume
from constyle_arch.training.step_costs import Step, disk_of, network_of, step_of


def check_run(flags: list[str]) -> None:
    """Check an option file as a run would, and print what the run would do.

    Args:
        flags: the command line after `check`, see `options.flags`.

    Raises:
        OptionsError: the options cannot be run; the message lists every problem. An experiment
            that already exists is reported after the description.
    """
    options, _ = read_checked_options(flags)
    trains, device = options["is_train"], torch.device("cuda" if options["num_gpu"] else "cpu")
    step = step_of(options, timed=device.type == "cpu") if trains else None
    disk = disk_of(options) if trains else None
    doubts = list(cautions(options, step, free_memory(device), disk, torch.cuda.device_count()))
    lines = _lines(options, step)
    if disk:
        needed = size_in_words(disk.needed)
        lines.append(f"  disk         about {needed}, for {disk.count} checkpoints")
    if trains and (options["auto_resume"] or options["path"].get("resume_state")):
        options |= {"rank": 0, "world_size": 1}
        complete_paths(options, Path.cwd())
        found = state_to_resume(options)
        lines.append(f"  resumes      from iteration {found.state['iter'] if found else 0}")
    in_the_way = list(check_experiment(options))
    first = f"{options['name']}: this {'training' if trains else 'test'} can be run"
    first += " under another name" if in_the_way else ""
    first += ", but look at this first:" if doubts else "."
    print(first, *(f"  - {doubt}" for doubt in doubts), *lines, sep="\n", flush=True)
    if in_the_way:
        raise OptionsError(in_the_way[0])


def _lines(options: Options, step: Step | None) -> list[str]:
    network = shapes_of(lambda: network_of(options))
    size, gmacs = f"{count_parameters(network) / 1e6:.3f} M parameters", count_gmacs(network)
    if gmacs is not None:
        size += f", {gmacs:.2f} GMACs for {SIDE}×{SIDE} pixels"
    device = "GPU" if options["num_gpu"] else "CPU"
    lines = [f"  network      {type(network).__name__}, {size}", f"  device       {device}"]
    for phase, dataset_opt in options["datasets"].items():
        images = len(DATASET_REGISTRY.get(dataset_opt["type"])(dataset_opt))
        lines.append(f"  {phase:<12} {dataset_opt['name']}, {images} images")
        if phase == "train":
            lines += _training_lines(options, images, step)
    return lines


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
            f"  memory       about {size_in_words(step.memory)} for a step of {batch} images of "
            f"{size}×{size} pixels, besides the program"
        )
        if step.seconds:
            lines.append(
                f"  time         about {in_words(step.seconds)} for a step on this CPU, "
                f"{in_words(step.seconds * total)} for all"
            )
    return lines
