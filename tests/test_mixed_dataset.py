"""Training on several data sets at a time."""

import logging
import random
from collections import Counter

import cv2
import numpy as np
import pytest

from constyle_arch.basicsr_repairs.loaders import create_train_val_dataloader
from constyle_arch.data.mixed_dataset import MixedDataset
from constyle_arch.data.training_sampler import SeededDataset, WholeBatchSampler
from constyle_arch.errors import DataError, OptionsError


@pytest.fixture
def options(tmp_path):
    """Two sets, told apart by the brightness of their images: pairs below 100, clean images from
    100 on."""
    for folder, brightness in (("lq", 20), ("gt", 40), ("clean", 100)):
        (tmp_path / folder).mkdir()
        for number in range(5):
            cv2.imwrite(
                str(tmp_path / folder / f"{number}.png"),
                np.full((40, 48, 3), brightness + number, np.uint8),
            )
    pairs = {
        "name": "pairs",
        "type": "PairedRestorationDataset",
        "dataroot_lq": str(tmp_path / "lq"),
        "dataroot_gt": str(tmp_path / "gt"),
    }
    noise = {
        "name": "noise",
        "type": "DegradedImageDataset",
        "dataroot_gt": str(tmp_path / "clean"),
        "degradations": [{"type": "noise", "sigma": 1}],
    }
    return {
        "name": "mixed",
        "type": "MixedDataset",
        "phase": "train",
        "scale": 1,
        "gt_size": 32,
        "sets": [pairs, noise],
    }


def brightness(image):
    return round(
        float(np.asarray(image, np.float32).mean())
        * (1 if image.dtype.is_floating_point is False else 255)
    )


def test_samples_are_their_sets_and_say_which(options):
    dataset = MixedDataset(options)
    assert len(dataset) == 10
    seen = set()
    for index in range(200):
        sample = dataset[index % 10]
        assert sample["gt"].shape == sample["lq"].shape == (3, 32, 32)
        seen.add((sample["set"], brightness(sample["gt"])))
    assert seen == {("pairs", 40 + n) for n in range(5)} | {("noise", 100 + n) for n in range(5)}


def test_sets_are_drawn_by_their_weights(options):
    random.seed(0)
    dataset = MixedDataset({**options, "weights": [3, 1]})
    counts = Counter(dataset[0]["set"] for _ in range(2000))
    assert counts["pairs"] / 2000 == pytest.approx(0.75, abs=0.04)  # four standard deviations


def test_a_sample_follows_from_its_seed_alone(options):
    dataset = SeededDataset(MixedDataset(options))
    first, other = dataset[3, 7], SeededDataset(MixedDataset(options))[8, 7]
    assert first["set"] == other["set"]
    assert all((first[side] == other[side]).all() for side in ("lq", "gt"))
    assert len({dataset[0, seed]["lq_path"] for seed in range(100)}) == 10


def test_balanced_batches_hold_each_sets_share(options):
    dataset = SeededDataset(
        MixedDataset({**options, "weights": [3, 1], "balanced": True, "batch_size_per_gpu": 8})
    )
    for rank in range(2):
        sampler = WholeBatchSampler(
            len(dataset), 8, 2, rank, 5, seed=0, batch=dataset.dataset.batch_of_sets
        )
        samples = list(sampler)
        names = [dataset[sample]["set"] for sample in samples]
        batches = [names[start : start + 8] for start in range(0, len(names), 8)]
        assert [batch.count("noise") for batch in batches] == [2] * 4
        assert [batch[:4].count("noise") for batch in batches] == [
            1
        ] * 4  # gradients of half a batch, added up
        sampler.done = 3
        assert list(sampler) == samples[24:]
    assert len({dataset[sample]["lq_path"] for sample in samples}) > 5


def test_a_training_reads_balanced_batches(options):
    train = {**options, "balanced": True, "batch_size_per_gpu": 4, "num_worker_per_gpu": 0}
    run = {
        "world_size": 1,
        "rank": 0,
        "num_gpu": 0,
        "dist": False,
        "manual_seed": 0,
        "train": {"total_iter": 3},
    }
    loader, *_ = create_train_val_dataloader(
        {**run, "datasets": {"train": train}}, logging.getLogger()
    )
    assert [Counter(batch["set"]) for batch in loader] == [{"pairs": 2, "noise": 2}] * 3


def test_second_crops_are_of_the_same_image(options):
    for seed in range(20):
        sample = SeededDataset(MixedDataset({**options, "second_crop": True}))[0, seed]
        assert abs(brightness(sample["lq_other"]) - brightness(sample["lq"])) <= 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sets": []}, r"sets is \[\]; it must list"),
        ({"sets": [{"name": "x"}]}, "each with a type"),
        (
            {"weights": [1]},
            r"weights is \[1\]; it must list a number above 0 for each of the 2 sets",
        ),
        (
            {"weights": [1, 2], "balanced": True, "batch_size_per_gpu": 4},
            "would hold 1.333, 2.667 samples",
        ),
        ({"phase": "val"}, "list its sets apart"),
        ({"gt_size": 64}, "smaller than the crops"),
    ],
)
def test_what_does_not_fit_is_said(options, changed, message):
    with pytest.raises(DataError, match=message):
        MixedDataset({**options, **changed})[0]


def test_weights_are_above_0(options):
    with pytest.raises(OptionsError, match=r"weights is \[1, 0\]; it must be a list.* above 0"):
        MixedDataset({**options, "weights": [1, 0]})
    with pytest.raises(DataError, match=r"weights is \[\]; it must list"):
        MixedDataset({**options, "weights": []})


def test_an_error_names_its_set(options):
    options["sets"][1]["degradations"] = []
    with pytest.raises(DataError, match="sets, noise: degradations"):
        MixedDataset(options)
