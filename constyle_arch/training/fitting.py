"""`basicsr init`: a training's options fitted to data, machine and time."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import median_high
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
from constyle_arch.reporting.complexity import count_parameters
from constyle_arch.training.interruption import handlers_put_back
from constyle_arch.training.own_data import OwnData
from constyle_arch.training.own_options import SIZES, VALIDATIONS, Settings, option_file, round_down
from constyle_arch.training.step_costs import step_of

ALIGNMENT = 16
"""Crops have a multiple of this many pixels a side: ConStyle's encoder halves four times."""

HELD_OUT_SHARE, HELD_OUT_MOST = 10, 12
"""One clean image of so many validates, two where there are at least six, and at most so many in
all."""

VALIDATIONS_LEAST = 4
VALIDATION_SHARE = 0.15
"""Of the time, at most, as far as at least `VALIDATIONS_LEAST` are left."""

BESIDES = 1.15
"""A training's time over that of its steps: reading images, saving, logging. A guess on the safe
side."""

ENOUGH_FOR_SMALL = 2000
"""Iterations below which the small network, where it starts from nothing, is behind the tiny
one."""


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
        raise DataError(
            f"--gt {data.gt} has {data.clean} image; a training needs 2 at least, one of them to "
            "validate."
        )
    gpu = torch.cuda.is_available()
    wanted = 128 if gpu or task == "dehaze" else SIZES[size].crop
    crop = min(wanted, data.shortest) // ALIGNMENT * ALIGNMENT
    if crop < 2 * ALIGNMENT:
        raise DataError(
            f"The shortest side of the images is {data.shortest} pixels; {2 * ALIGNMENT} are the "
            "least to train on."
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


def _in_time(
    settings: Settings, timing: Timing, minutes: float | None, iterations: int | None
) -> Settings:
    """As many iterations as were asked for or as the time allows, with few enough validations."""
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
        smaller = "" if settings.size == "tiny" else ", or take --size tiny"
        raise OptionsError(
            f"--minutes {minutes:g} is not enough: a step takes {timing.step:.2f} s here and "
            f"{least.iterations} are the least that make sense, which is "
            f"{timing.minutes(least):.1f} minutes. Give more{smaller}."
        )
    return replace(settings, iterations=round_down(possible))


# What the machine does with it.


def _fitting_batch(settings: Settings) -> int:
    """The batch of the size, or as much of it as fits into memory, 2 at least."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batch, room = settings.batch, 0.5 * free_memory(device)  # what is not counted is about as much
    while batch > 2:
        step = step_of(_options(replace(settings, batch=batch)), timed=False)
        if step is None or step.memory <= room:
            break
        batch //= 2
    return batch


def _options(settings: Settings) -> dict[str, Any]:
    options: dict[str, Any] = yaml.load(option_file(settings), Loader=OptionLoader)
    return options


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
        on_gpu, cores = device.type == "cuda", available_cores()
        cpu = f"CPU with {cores} core{'s' * (cores != 1)}"
        name = torch.cuda.get_device_name() if on_gpu else cpu
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

    options = _options(settings)
    options |= {"is_train": True, "dist": False, "rank": 0, "world_size": 1}
    options["num_gpu"] = int(torch.cuda.is_available())
    complete_datasets(options)
    with TemporaryDirectory() as folder, handlers_put_back():
        options["path"] |= {"models": folder, "training_states": folder}
        model = build_model(options)
        model.progress_line.close()
        yield model


def _seconds_of(work: Callable[[], object], device: torch.device, enough: float = 4.0) -> float:
    """What `work` takes, once it is warm: the median of a few."""
    work()
    taken: list[float] = []
    while len(taken) < 3 or (sum(taken) < enough / 4 and len(taken) < 20):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
        if sum(taken) > enough:
            break
    return median_high(taken)


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
