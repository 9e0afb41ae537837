"""Measuring a network on a data set, the images shared out among the processes of a run."""

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from basicsr.metrics import calculate_metric
from basicsr.utils import tensor2img
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from constyle_arch.distributed import gathered_objects, ranks
from constyle_arch.errors import RunError
from constyle_arch.reporting.scores import INPUT, Row

Pictures = dict[str, NDArray[np.uint8]]
"""`input`, `restored` and, where there is one, `clean`: (H, W, 3), BGR, or (H, W) of one
channel."""


@dataclass(frozen=True)
class Measured:
    """An image of a data set: its scores, and whether what was restored is finite.

    There are no pictures where they are not asked for, or it is not finite: it would look black.
    """

    name: str
    finite: bool
    row: Row
    pictures: Pictures


def measure(
    restore: Callable[[Mapping[str, Any]], Mapping[str, Tensor]],
    dataloader: DataLoader[Any],
    metrics: Mapping[str, Any],
    *,
    score_input: bool,
    pictures_of: Container[int],
    progress: bool,
    until: Callable[[], int] = lambda: 0,
) -> Iterator[Measured]:
    """Restore and score every image of a data set once, whatever the number of processes.

    Process r of n takes the images r, r + n, …; process 0 receives all of them, in the data set's
    order, and yields them. On the other processes nothing is yielded, but they must be iterated
    too.

    Args:
        restore: gives the images of a sample, as `RestorationModel.restored_images` does.
        dataloader: of the whole data set; samples are collated one by one.
        metrics: `val.metrics`.
        score_input: whether to score the degraded image as well.
        pictures_of: the numbers of the images, from 0 on, whose pictures are to be handed on.
        progress: whether to show a progress bar.
        until: asked on every process after each round of images; the rest is left out once it is
            not 0.

    Raises:
        RunError: there are metrics but no clean images to measure with.
    """
    dataset: Any = dataloader.dataset
    world_size, rank = ranks()
    if world_size > 1:
        share = Subset(dataset, range(rank, len(dataset), world_size))
        dataloader = DataLoader(share, batch_size=1, num_workers=dataloader.num_workers)
    samples = iter(dataloader)
    rounds = range(0, len(dataset), world_size)
    silent = not progress or rank != 0
    for first in tqdm(rounds, desc=dataset.opt["name"], unit="image", disable=silent):
        sample = next(samples, None)
        measured = None
        if sample is not None:
            images = restore(sample)
            if metrics and "clean" not in images:
                raise RunError(
                    f"val.metrics is set but the data set {dataset.opt['name']} has no clean "
                    "images to measure with."
                )
            name = sample["name"][0] if "name" in sample else Path(sample["lq_path"][0]).stem
            measured = _measured(name, images, metrics, score_input)
            if first + rank not in pictures_of:
                measured.pictures.clear()
        yield from (one for one in gathered_objects(measured) if one is not None)
        if until():
            return


def _measured(
    name: str, images: Mapping[str, Tensor], metrics: Mapping[str, Any], score_input: bool
) -> Measured:
    finite = bool(images["restored"].isfinite().all())
    pictures = {label: tensor2img(image.cpu()) for label, image in images.items()}
    row: dict[str, str | float | None] = {"image": name}
    for metric, options in metrics.items():
        for label, column in (("input", f"{INPUT}{metric}"), ("restored", metric)):
            if label == "restored" or score_input:
                pair = {"img": pictures[label], "img2": pictures["clean"]}
                scored = finite or label == "input"
                row[column] = float(calculate_metric(pair, dict(options))) if scored else None
    return Measured(name, finite, row, pictures if finite else {})
