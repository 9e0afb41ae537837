"""What does not stand against a run but is hardly meant: `basicsr check` says it."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from constyle_arch.data.image_stores import as_list
from constyle_arch.data.workers import available_cores
from constyle_arch.losses import perceptual_backbone
from constyle_arch.metrics import perceptual
from constyle_arch.models.restoration_model import RestorationModel
from constyle_arch.options.lookup import Options, is_subclass, model_of
from constyle_arch.options.schema import Train
from constyle_arch.training.step_costs import Disk, Step

GIGABYTE = 2**30
DAY = 24 * 60 * 60

WORKERS_A_CORE = 8
LONG_ON_A_CPU = 7 * DAY


def cautions(
    options: Options, step: Step | None, free_memory: float, disk: Disk | None = None, gpus: int = 1
) -> Iterator[str]:
    """Options that can be run but are hardly meant, one sentence each.

    Args:
        options: checked.
        step: what a training step takes; None for a test, and where it cannot be told.
        free_memory: bytes of the device that can be had.
        disk: what a training writes; None for a test.
        gpus: of this machine.
    """
    yield from _same_places(options)
    yield from _downloads(perceptual.downloads((options.get("val") or {}).get("metrics") or {}))
    if not options["is_train"]:
        return
    yield from _downloads(perceptual_backbone.downloads(options["train"]))
    train = Train.read(options["train"])
    yield from _schedule(train)
    workers, cores = options["datasets"]["train"]["num_worker_per_gpu"], available_cores()
    if workers > WORKERS_A_CORE * cores:
        yield (
            f"datasets.train.num_worker_per_gpu is {workers}, and this process has {cores} CPU "
            f"core{'s' * (cores > 1)}; each worker is a process with memory of its own."
        )
    if step:
        yield from _too_much(options, train, step, free_memory, gpus)
    if disk and disk.needed > disk.free:
        yield (
            f"{disk.count} checkpoints take about {size_in_words(disk.needed)} and "
            f"{size_in_words(disk.free)} are free here; raise logger.save_checkpoint_freq, or "
            "start where there is more room."
        )


def _downloads(needed: Iterable[tuple[str, Any]]) -> Iterator[str]:
    for needed_by, weights in needed:
        yield (
            f"{needed_by}: the run begins with the download of {weights.url}, "
            f"{weights.meta['_file_size']:.0f} MiB."
        )


def _same_places(options: Options) -> Iterator[str]:
    places = {
        phase: {side: _places(section.get(f"dataroot_{side}")) for side in ("lq", "gt")}
        for phase, section in options["datasets"].items()
    }
    for phase, sides in places.items():
        named = options["datasets"][phase].get("lq_name")
        if sides["lq"] and sides["lq"] == sides["gt"] and not named:
            yield (
                f"datasets.{phase}: dataroot_lq and dataroot_gt are one place, so there is nothing "
                "to restore."
            )
    trained = places.get("train", {"gt": set()})["gt"]
    held_out = options["datasets"].get("train", {}).get("hold_out")
    for phase, sides in places.items():
        apart = held_out and held_out == options["datasets"][phase].get("hold_out")
        if phase != "train" and trained & sides["gt"] and not apart:
            yield (
                f"datasets.{phase} measures on images that are trained on, "
                f"{', '.join(sorted(trained & sides['gt']))}; scores will not tell how well others "
                "are restored."
            )


def _places(roots: Any) -> set[str]:
    texts = (root for root in as_list(roots) if isinstance(root, str))
    return {str(Path(root).expanduser().resolve()) for root in texts}


def _schedule(train: Train) -> Iterator[str]:
    total_iter = train.total_iter
    advice = "--total-iter, in place of another total_iter, scales it along"
    if train.constyle_iterations > total_iter:
        yield (
            f"train.constyle_iter is {train.constyle_iter} and the run has {total_iter} "
            f"iterations, so ConStyle is never frozen; {advice}."
        )
    periods = (train.scheduler.model_extra or {}).get("periods")
    if isinstance(periods, list) and len(periods) > 1 and periods[0] >= total_iter:
        yield (
            f"train.scheduler: the first period, {periods[0]} iterations, outlasts the run's "
            f"{total_iter}, so the rate never comes to the next; {advice}."
        )


def _too_much(
    options: Options, train: Train, step: Step, free_memory: float, gpus: int
) -> Iterator[str]:
    if step.memory > free_memory:
        ways = [*_smaller_steps(options, train, step, free_memory, gpus)]
        if is_subclass(model_of(options), RestorationModel):
            ways.append("train.checkpointing: true")
        advice = f"set {', or '.join(ways)}, or " if ways else ""
        yield (
            f"a step takes about {size_in_words(step.memory)} and {size_in_words(free_memory)} are "
            f"free; {advice}take a smaller gt_size or network."
        )
    if step.seconds and step.seconds * train.total_iter > LONG_ON_A_CPU:
        yield (
            f"train.total_iter: {train.total_iter} iterations take about "
            f"{in_words(step.seconds * train.total_iter)} on this CPU; --total-iter N shortens the "
            "whole schedule, a smaller network its steps."
        )


def _smaller_steps(
    options: Options, train: Train, step: Step, free_memory: float, gpus: int
) -> Iterator[str]:
    """Ways to the same training in steps that fit, the one nearest to it first."""
    optimizer = options["train"]["optim_g"]
    batch, room = options["datasets"]["train"]["batch_size_per_gpu"], free_memory - step.fixed
    alone_on_gpus = options["num_gpu"] and not options["dist"]
    if alone_on_gpus and batch % gpus == 0 and step.computed / gpus <= room < step.computed:
        yield (
            f"batch_size_per_gpu: {batch // gpus} for {gpus} processes (torchrun --nproc-per-node "
            f"{gpus})"
        )
    divisors = [n for n in range(2, batch) if batch % n == 0]
    parts = [n for n in divisors if step.parts < n <= batch // 2 and step.computed / n <= room]
    if parts and is_subclass(model_of(options), RestorationModel):
        yield (
            f"train.accumulate: {parts[0]} at the same rate (BatchNorm and the style loss then see "
            "a part at a time)"
        )
    fits = [n for n in divisors if step.computed * n / batch / step.parts <= room]
    if fits:
        share = fits[-1] / batch
        rate = optimizer["lr"] * (share if optimizer["type"] == "SGD" else share**0.5)
        yield (
            f"batch_size_per_gpu: {fits[-1]} with train.optim_g.lr: {rate:.2g} and --total-iter "
            f"{round(train.total_iter / share)}, as many images in all"
        )


def size_in_words(size: float) -> str:
    """Bytes in the unit that suits them."""
    return f"{size / GIGABYTE:.1f} GiB" if size >= GIGABYTE / 10 else f"{size / 2**20:.1f} MiB"


def in_words(seconds: float) -> str:
    """A duration in the unit that suits it."""
    for unit, length in (("days", DAY), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.2g} s"
