"""Clean images that are degraded as they are read."""

import random

import cv2
import numpy as np
import pytest
import torch
from numpy.random import RandomState

from constyle_arch.data.degradations import Degradation
from constyle_arch.data.degraded_image_dataset import DegradedImageDataset
from constyle_arch.data.training_sampler import SeededDataset
from constyle_arch.errors import DataError, OptionsError
from tests.shared import write_pairs


def dataset(folder, *degradations, **options):
    opt = {
        "name": "x",
        "phase": "val",
        "dataroot_gt": str(folder / "gt"),
        "degradations": list(degradations),
    }
    return DegradedImageDataset({**opt, **options})


NOISE = {"type": "noise", "sigma": 25}


def test_test_noise_is_that_of_the_literature(tmp_path):
    write_pairs(tmp_path, 2)
    for index, item in enumerate(dataset(tmp_path, NOISE)):
        image = cv2.cvtColor(
            cv2.imread(str(tmp_path / "gt" / f"{index:03}.png")), cv2.COLOR_BGR2RGB
        )
        expected = np.float32(image) / 255.0
        np.random.seed(seed=0)
        expected += np.random.normal(0, 25 / 255.0, expected.shape)
        np.testing.assert_array_equal(item["lq"].permute(1, 2, 0).numpy(), expected)
        np.testing.assert_allclose(item["gt"].permute(1, 2, 0).numpy(), image / 255.0, atol=1e-7)


def test_gray_images_have_one_noise_in_three_channels(tmp_path):
    write_pairs(tmp_path, 1)
    item = dataset(tmp_path, NOISE, color="gray")[0]
    gray = cv2.imread(str(tmp_path / "gt" / "000.png"), cv2.IMREAD_GRAYSCALE)
    noise = RandomState(0).normal(0, 25 / 255, gray.shape)
    for channel in range(3):
        np.testing.assert_allclose(item["lq"][channel].numpy(), gray / 255 + noise, atol=2 / 255)
        assert torch.equal(item["lq"][channel], item["lq"][0])
        assert torch.equal(item["gt"][channel], item["gt"][0])


EVERY = [
    {"type": "haze"},
    {"type": "rain"},
    {"type": "motion_blur", "length": [3, 9], "turn": [-60, 60]},
    {"type": "noise", "sigma": {"choice": [5, 25]}},
]


@pytest.mark.parametrize("color", ["rgb", "gray"])
def test_training_samples_depend_on_their_seed_alone(tmp_path, color):
    write_pairs(tmp_path, 3)
    items = SeededDataset(dataset(tmp_path, *EVERY, phase="train", gt_size=24, color=color))
    first, again, other = items[1, 5], items[1, 5], items[1, 6]
    assert first["lq"].shape == first["gt"].shape == (3, 24, 24)
    assert torch.equal(first["lq"], again["lq"])
    assert not torch.equal(first["lq"], other["lq"])
    assert not torch.equal(first["lq"], first["gt"])


def test_validation_degrades_an_image_alike_and_images_differently(tmp_path):
    write_pairs(tmp_path, 2)
    (tmp_path / "gt" / "001.png").write_bytes((tmp_path / "gt" / "000.png").read_bytes())
    items = [dataset(tmp_path, *EVERY[:3])[index] for index in (0, 0, 1)]
    assert torch.equal(items[0]["lq"], items[1]["lq"])
    assert not torch.equal(items[0]["lq"], items[2]["lq"])  # their names differ


def test_ranges_are_drawn_for_each_image_of_a_validation(tmp_path):
    write_pairs(tmp_path, 8)
    items = dataset(tmp_path, {"type": "noise", "sigma": [0, 50]})
    sigmas = [float((item["lq"] - item["gt"]).std()) * 255 for item in items]
    assert np.ptp(sigmas) > 10
    assert len({round(sigma, 2) for sigma in sigmas}) == 8


def test_two_noises_are_independent(tmp_path):
    write_pairs(tmp_path, 1, height=200, width=200)
    item = dataset(tmp_path, {"type": "noise", "sigma": 10}, {"type": "noise", "sigma": 10})[0]
    assert float((item["lq"] - item["gt"]).std()) * 255 == pytest.approx(10 * 2**0.5, rel=0.03)


def test_names_in_several_places_are_refused_where_results_would_meet(tmp_path):
    for name in ("a", "b"):
        write_pairs(tmp_path / name, 2)
    roots = [str(tmp_path / name / "gt") for name in ("a", "b")]
    with pytest.raises(DataError, match="2 names are in several of the places: 000, 001"):
        dataset(tmp_path, NOISE, dataroot_gt=roots)


@pytest.mark.parametrize(
    "blur",
    [
        {"type": "motion_blur", "length": 15, "angle": 30},
        {"type": "blur", "sigma": 2, "radius": 7},
        {"type": "jpeg", "quality": 30},
    ],
    ids=lambda blur: blur["type"],
)
def test_a_crop_is_degraded_with_what_lies_around_it(tmp_path, blur):
    write_pairs(tmp_path, 1, height=64, width=64)
    whole = dataset(tmp_path, blur)[0]
    crops = dataset(tmp_path, blur, phase="train", gt_size=16, use_hflip=False, use_rot=False)
    for seed in range(5):
        random.seed(seed)
        crop = crops[0]
        corners = [
            (row, column)
            for row in range(49)
            for column in range(49)
            if torch.equal(whole["gt"][:, row : row + 16, column : column + 16], crop["gt"])
        ]
        assert len(corners) == 1
        ((row, column),) = corners
        torch.testing.assert_close(whole["lq"][:, row : row + 16, column : column + 16], crop["lq"])


def test_clean_images_may_lie_in_several_places(tmp_path):
    for name in ("a", "b"):
        write_pairs(tmp_path / name, 2)
    roots = [str(tmp_path / name / "gt") for name in ("a", "b")]
    assert len(dataset(tmp_path, NOISE, dataroot_gt=roots, phase="train", gt_size=16)) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"degradations": []}, "it must be a list such as"),
        (
            {"degradations": [NOISE, {"type": "noise", "sigma": "x"}]},
            "degradations, number 2: sigma is 'x'",
        ),
        ({"dataroot_gt": ["nowhere"]}, "dataroot_gt: the folder nowhere does not exist"),
        ({"scale": 2}, "scale is 2"),
    ],
)
def test_options_that_cannot_be_used_are_explained(tmp_path, options, message):
    write_pairs(tmp_path, 1)
    with pytest.raises(DataError, match=message):
        dataset(tmp_path, NOISE, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"degradations": "noise"}, "degradations is 'noise'; it must be a list"),
        ({"color": "grey"}, "color is 'grey'; it must be rgb or gray"),
        ({"dataroot_gt": None}, "dataroot_gt is None; it must be text"),
    ],
)
def test_options_of_another_type_are_explained_as_those_of_a_file(tmp_path, options, message):
    with pytest.raises(OptionsError, match=message):
        dataset(tmp_path, NOISE, **options)


class Scramble(Degradation):
    """Turns an image into random numbers, no two of which are alike, and keeps them."""

    margin = 2

    def __call__(self, image, rng):
        self.whole = rng.random_sample(image.shape).astype(np.float32)
        return self.whole


def test_second_crop_is_another_one_of_the_same_degraded_image(tmp_path):
    write_pairs(tmp_path, 1)
    options = {"name": "x", "phase": "train", "gt_size": 16, "use_hflip": False, "use_rot": False}
    options |= {
        "dataroot_gt": str(tmp_path / "gt"),
        "degradations": [{"type": "noise", "sigma": 25}],
    }
    corners = set()
    for seed in range(5):
        with_other, without = (
            DegradedImageDataset({**options, "second_crop": other}) for other in (True, False)
        )
        with_other.degradations = [Scramble()]
        random.seed(seed)
        item = with_other[0]
        whole = torch.from_numpy(with_other.degradations[0].whole).permute(2, 0, 1)
        for side in ("lq", "lq_other"):
            assert item[side].shape == (3, 16, 16)
            ((_, row, column),) = (whole[:1] == item[side][0, 0, 0]).nonzero().tolist()
            assert torch.equal(whole[:, row : row + 16, column : column + 16], item[side])
            corners.add((seed, row, column))
        random.seed(seed)
        # a second crop leaves the first one where it was
        assert torch.equal(without[0]["gt"], item["gt"])
    assert len(corners) == 10
