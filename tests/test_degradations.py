"""Degrading clean images: what each degradation computes."""

import io
import random

import basicsr.data.degradations as basicsrs
import cv2
import numpy as np
import PIL.Image
import pytest
from numpy.random import RandomState

from constyle_arch.data.degradations import (
    DEGRADATIONS,
    Blur,
    Contrast,
    Haze,
    Jpeg,
    LowLight,
    MotionBlur,
    Noise,
    OneOf,
    PoissonNoise,
    Rain,
    RealESRGAN,
    Resize,
    Sinc,
    Snow,
    build_degradation,
)
from constyle_arch.data.degradations.blur import path_kernel
from constyle_arch.data.degradations.degradation import Quantity
from constyle_arch.data.degradations.weather import (
    add_haze,
    depth_from_disparity,
    falling_kernel,
    smooth_depth,
)
from tests.shared import write_pairs

IMAGE = RandomState(1).random_sample((24, 30, 3)).astype(np.float32)


def test_quantities_are_drawn_as_written():
    rng = RandomState(0)
    assert Quantity.parse(25, "x").draw(rng) == 25
    ranged = [Quantity.parse([10, 20], "x").draw(rng) for _ in range(500)]
    assert 10 <= min(ranged) < 10.5
    assert 19.5 < max(ranged) <= 20
    assert np.mean(ranged) == pytest.approx(15, abs=0.5)
    chosen = [Quantity.parse({"choice": [15, 25, 50]}, "x").draw(rng) for _ in range(300)]
    assert {number: chosen.count(number) > 60 for number in set(chosen)} == {
        15: True,
        25: True,
        50: True,
    }


@pytest.mark.parametrize(
    "value",
    [None, "25", [], [3, 2], [1, 2, 3], {"choice": []}, {"chioce": [1]}, True, [1, "2"], -1],
)
def test_quantities_that_are_none_are_refused(value):
    with pytest.raises(ValueError, match="sigma is"):
        Quantity.parse(value, "sigma")


def test_haze_follows_the_scattering_model():
    depth = RandomState(0).random_sample((24, 30)).astype(np.float32)
    hazy = add_haze(IMAGE, depth, beta=1.5, airlight=0.9)
    for row, column in ((0, 0), (5, 29), (23, 7)):
        t = np.exp(-1.5 * depth[row, column])
        np.testing.assert_allclose(
            hazy[row, column], IMAGE[row, column] * t + 0.9 * (1 - t), rtol=1e-5
        )
    np.testing.assert_array_equal(add_haze(IMAGE, depth, beta=0, airlight=0.9), IMAGE)


@pytest.mark.parametrize("size", [(64, 96), (96, 64), (8, 8)])
def test_smooth_depth_is_smooth_and_in_range(size):
    depth = smooth_depth(*size, RandomState(1))
    assert depth.shape == size
    assert depth.min() == pytest.approx(0.3)
    assert depth.max() == pytest.approx(1)
    assert np.abs(np.diff(depth, axis=0)).max() < 8 / size[0]


def test_depth_is_the_inverse_of_disparity_with_holes_filled():
    disparity = np.full((20, 30), 10, np.float32)
    disparity[:, 15:] = 40
    disparity[5, 5] = np.inf
    depth = depth_from_disparity(disparity)
    assert depth[5, 5] == pytest.approx(depth[10, 5], abs=0.02)
    assert depth[10, 5] == pytest.approx(1, abs=0.01)
    assert depth[10, 25] == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize(
    ("length", "angle", "turn"), [(1, 0, 0), (7, 0, 0), (9.5, 33, 0), (20, 90, 60), (15, 200, 300)]
)
def test_blur_kernel_is_a_path_of_that_length_and_direction(length, angle, turn):
    kernel = path_kernel(length, angle, turn)
    assert kernel.shape[0] == kernel.shape[1]
    assert kernel.shape[0] % 2 == 1
    assert kernel.min() >= 0
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    rows, columns = np.indices(kernel.shape) - kernel.shape[0] // 2
    if turn == 0:
        # A straight line's variance is (length - 1)² / 12 along it, and at most a pixel's across.
        direction = np.cos(np.deg2rad(angle)), -np.sin(np.deg2rad(angle))
        along = columns * direction[0] + rows * direction[1]
        across = -columns * direction[1] + rows * direction[0]
        assert (kernel * along).sum() == pytest.approx(0, abs=0.1)
        assert (kernel * along**2).sum() == pytest.approx((length - 1) ** 2 / 12, rel=0.1, abs=0.5)
        assert (kernel * across**2).sum() < 0.3


def test_motion_blur_of_an_edge_is_a_ramp_of_the_length():
    edge = np.zeros((40, 60, 3), np.float32)
    edge[:, 30:] = 1
    blurred = MotionBlur(length=9, angle=0)(edge, RandomState(0))
    ramp = blurred[20, :, 0]
    assert ramp[25] == pytest.approx(0, abs=1e-6)
    assert ramp[35] == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(np.diff(ramp[26:34]), 1 / 8, atol=0.02)
    np.testing.assert_allclose(
        MotionBlur(length=9, angle=90)(edge, RandomState(0)), edge, atol=1e-6
    )


def test_rain_falls_along_its_angle_and_only_brightens():
    dark = np.zeros((80, 80, 3), np.float32)
    rained = Rain(density=0.005, length=21, angle=0, brightness=0.5)(dark, RandomState(0))
    assert 0 <= rained.min() < rained.max() <= 1
    assert np.array_equal(rained[..., 0], rained[..., 2])
    along, across = (np.abs(np.diff(rained[..., 0], axis=axis)).mean() for axis in (0, 1))
    assert along < across / 4
    rained = Rain(density=0.005, length=21, angle=0, brightness=0.5)(IMAGE, RandomState(0))
    assert (rained >= IMAGE - 1e-6).all()
    assert rained.max() <= 1
    assert np.array_equal(Rain(density=0)(IMAGE, RandomState(0)), IMAGE)


def test_noise_has_its_standard_deviation_and_is_not_clipped():
    white = np.ones((200, 200, 3), np.float32)
    noisy = Noise(25)(white, RandomState(3))
    assert noisy.std() == pytest.approx(25 / 255, rel=0.02)
    assert noisy.max() > 1.2


def photograph(height=160, width=192):
    """Smooth, with an edge and some texture."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    image = np.stack([rows / height, columns / width, 0.5 + 0.3 * np.sin(columns / 3)], axis=2)
    image[40:100, 60:120] = (0.9, 0.3, 0.1)
    return image.astype(np.float32)


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("color", ["rgb", "gray"])
def test_poisson_noise_is_basicsrs(color, gray):
    image = photograph() if color == "rgb" else photograph()[..., :1]
    # it takes BGR for the gray version
    image_of_basicsr = image[..., ::-1] if gray and color == "rgb" else image
    np.random.seed(4)
    noise = basicsrs.generate_poisson_noise(
        np.ascontiguousarray(image_of_basicsr), 1.5, gray_noise=gray and color == "rgb"
    )
    noisy = PoissonNoise(1.5, gray=int(gray))(image, RandomState(4))
    np.testing.assert_allclose(noisy, np.clip(image + noise, 0, 1), atol=1e-6)


def test_gray_noise_is_one_for_all_channels_of_so_many_images():
    rng = RandomState(0)
    noises = [Noise(25, gray=0.4)(IMAGE, rng) - IMAGE for _ in range(1000)]
    gray = [np.ptp(noise, axis=2).max() < 1e-6 for noise in noises]
    assert np.mean(gray) == pytest.approx(0.4, abs=0.05)
    assert noises[gray.index(True)].std() == pytest.approx(25 / 255, rel=0.1)
    assert Noise(50, clip=True)(IMAGE, rng).min() == 0


@pytest.mark.parametrize(
    "options", [{}, {"kernel": "generalized", "beta": 0.7}, {"kernel": "plateau", "beta": 1.5}]
)
@pytest.mark.parametrize("isotropic", [True, False])
def test_a_point_becomes_the_kernel_of_basicsr(options, isotropic):
    point = np.zeros((21, 21, 3), np.float32)
    point[10, 10] = 1
    blurred = Blur((1, 3), isotropic=isotropic, radius=6, **options)(point, RandomState(2))
    rng = RandomState(2)
    along = rng.uniform(1, 3)
    across, angle = (along, 0) if isotropic else (rng.uniform(1, 3), rng.uniform(-np.pi, np.pi))
    make = {
        None: basicsrs.bivariate_Gaussian,
        "generalized": basicsrs.bivariate_generalized_Gaussian,
        "plateau": basicsrs.bivariate_plateau,
    }[options.get("kernel")]
    beta = [options["beta"]] if options else []
    kernel = make(13, along, across, angle, *beta, isotropic=isotropic)
    np.testing.assert_allclose(blurred[4:17, 4:17, 1], kernel, atol=1e-6)
    assert blurred.sum() == pytest.approx(3, abs=1e-4)


def test_gaussian_blur_is_opencvs():
    image = photograph()
    expected = cv2.GaussianBlur(image, (15, 15), 2, borderType=cv2.BORDER_REFLECT_101)
    np.testing.assert_allclose(Blur(2, radius=7)(image, RandomState(0)), expected, atol=1e-5)


def test_sinc_keeps_low_frequencies_takes_high_ones_and_rings():
    columns = np.arange(200, dtype=np.float32)
    waves = {frequency: 0.5 + 0.4 * np.cos(frequency * columns) for frequency in (0.3, 2.5)}
    for frequency, wave in waves.items():
        image = np.broadcast_to(wave[None, :, None], (40, 200, 1)).astype(np.float32)
        left = (
            Sinc(1.2, radius=10)(image, RandomState(0))[20, 20:180].std() / image[20, 20:180].std()
        )
        assert left > 0.9 if frequency < 1.2 else left < 0.1
    edge = np.full((40, 60, 3), 0.2, np.float32)
    edge[:, 30:] = 0.8
    assert Sinc(1.2, radius=10)(edge, RandomState(0))[20].max() > 0.83


def test_jpeg_is_what_a_file_of_that_quality_holds():
    image = photograph()
    compressed = Jpeg(40)(image, RandomState(0))
    file = io.BytesIO()  # OpenCV and Pillow both write by libjpeg
    PIL.Image.fromarray(np.round(255 * image).astype(np.uint8)).save(
        file, "JPEG", quality=40, subsampling="4:2:0"
    )
    expected = np.asarray(PIL.Image.open(file), np.float32) / 255
    np.testing.assert_allclose(compressed, expected, atol=2 / 255)
    gray = Jpeg(40)(image[..., :1], RandomState(0))
    assert gray.shape == (160, 192, 1)
    assert np.abs(gray - image[..., :1]).max() < 0.2


def test_resize_loses_what_is_finer_than_the_scale():
    image = photograph()
    block = Resize(0.25, "area")(image, RandomState(0))
    small = image.reshape(40, 4, 48, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(
        block, cv2.resize(small, (192, 160), interpolation=cv2.INTER_AREA), atol=1e-5
    )
    np.testing.assert_array_equal(Resize(1, "bicubic")(image, RandomState(0)), image)


def test_contrast_and_light_follow_their_equations():
    image = photograph()
    flat = Contrast(0.4)(image, RandomState(0))
    np.testing.assert_allclose(flat.mean(axis=(0, 1)), image.mean(axis=(0, 1)), atol=1e-4)
    np.testing.assert_allclose(flat.std(axis=(0, 1)), 0.4 * image.std(axis=(0, 1)), rtol=1e-4)
    dark = LowLight(gamma=2, alpha=0.9, beta=0.5)(image, RandomState(0))
    np.testing.assert_allclose(dark, 0.5 * (0.9 * image) ** 2, atol=1e-6)


def test_snow_whitens_and_adds_flakes_that_fall():
    dark = np.full((200, 200, 3), 0.2, np.float32)
    snowy = [Snow(severity)(dark, RandomState(1)) for severity in (1, 2)]
    for severity, image in enumerate(snowy, start=1):
        kept = (0.8, 0.7)[severity - 1]
        background = kept * 0.2 + (1 - kept) * (1.5 * 0.2 + 0.5)
        assert image.min() == pytest.approx(background, abs=1e-5)
        assert np.ptp(image, axis=2).max() < 1e-6
        along, across = (np.abs(np.diff(image[..., 0], axis=axis)).mean() for axis in (0, 1))
        assert along < across
    assert snowy[0].mean() < snowy[1].mean() <= 1


def test_falling_flakes_are_smeared_by_half_a_gaussian():
    kernel = falling_kernel(radius=3, sigma=2, angle=-90)
    expected = np.exp(-(np.arange(7) ** 2) / 8)
    np.testing.assert_allclose(kernel[6::-1, 6], expected / expected.sum(), rtol=1e-6)
    assert kernel.sum() == pytest.approx(1)
    assert kernel[7:].sum() == kernel[:, :6].sum() == kernel[:, 7:].sum() == 0


def test_one_of_draws_by_weight_and_may_do_nothing():
    options = {
        "type": "one_of",
        "choices": [[{"type": "contrast", "factor": 0}], []],
        "weights": [1, 3],
    }
    one_of, rng = build_degradation(options), RandomState(0)
    clean = [np.array_equal(one_of(IMAGE, rng), IMAGE) for _ in range(300)]
    assert np.mean(clean) == pytest.approx(0.75, abs=0.07)
    assert OneOf([[Blur(radius=3), Jpeg()], []]).margin == 19


def test_real_esrgan_damages_every_image_in_its_own_way():
    image, rng = photograph(), RandomState(0)
    degraded = [RealESRGAN()(image, rng) for _ in range(6)]
    for one in degraded:
        assert one.shape == image.shape
        assert one.dtype == np.float32
        assert 0 <= one.min() < one.max() <= 1
        assert 0.01 < np.abs(one - image).mean() < 0.25
        assert np.corrcoef(one.ravel(), image.ravel())[0, 1] > 0.6
    assert len({one.tobytes() for one in degraded}) == 6
    assert np.array_equal(RealESRGAN()(image, RandomState(7)), RealESRGAN()(image, RandomState(7)))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", sorted(set(DEGRADATIONS) - {"one_of"}))
def test_every_degradation_keeps_size_and_type_and_depends_on_its_numbers_alone(name, channels):
    needed = {"noise": {"sigma": 25}, "motion_blur": {"length": 9}}
    degradation = build_degradation({"type": name, **needed.get(name, {})})
    image = photograph(33, 47)[..., :channels]
    kept = image.copy()
    np.random.seed(0)
    random.seed(0)
    first, second = (degradation(image, RandomState(5)) for _ in range(2))
    assert first.shape == image.shape
    assert first.dtype == np.float32
    assert not np.array_equal(first, image)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(image, kept)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"type": "fog"}, "type is 'fog'; there are haze, rain, snow"),
        (
            {"type": "blur", "kernel": "box"},
            "kernel is 'box'; it must be gaussian, generalized or plateau",
        ),
        (
            {"type": "resize", "interpolation": "nearest"},
            "interpolation is 'nearest'; there are area",
        ),
        ({"type": "noise", "sigma": 1, "gray": 2}, r"gray is 2; it must be a number in \[0, 1\]"),
        ({"type": "jpeg", "quality": 0}, r"quality is 0; it must lie in \[1, 100\]"),
        ({"type": "snow", "severity": 6}, r"severity is 6; it must lie in \[1, 5\]"),
        ({"type": "one_of", "choices": [{"type": "jpeg"}]}, "choices is .* it must list lists"),
        (
            {"type": "one_of", "choices": [[]], "weights": [1, 2]},
            r"weights is \[1, 2\]; it must list a number",
        ),
        ({"type": "noise"}, "sigma"),
        ({"type": "noise", "sigma": [50, 0]}, "sigma is"),
        ({"type": "noise", "sigma": 5, "mean": 1}, "mean"),
        ({"type": "haze", "airlight": 2}, r"airlight is 2; it must lie in \[0, 1\]"),
        ({"type": "motion_blur", "length": 0}, "length is 0"),
    ],
)
def test_degradations_that_do_not_exist_are_explained(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        build_degradation(options)


def test_haze_of_the_data_set_is_in_range(tmp_path):
    write_pairs(tmp_path, 1)
    hazy = Haze()(IMAGE, RandomState(0))
    assert 0 <= hazy.min() < hazy.max() <= 1
    assert hazy.mean() > IMAGE.mean()
