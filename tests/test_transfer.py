"""`basicsr transfer`: a degradation goes from one photograph to another."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.random import RandomState
from skimage import data

from constyle_arch import cli
from constyle_arch.data.degradations import Noise
from constyle_arch.data.degradations.weather import Rain, add_haze
from constyle_arch.images import to_8_bit, to_float
from constyle_arch.inference.transfer import texture_like, transferred


def reduced(photograph, height=96, width=128):
    return np.asarray(
        cv2.resize(to_float(photograph), (width, height), interpolation=cv2.INTER_AREA)
    )


@pytest.fixture
def cat():
    return reduced(data.chelsea())


@pytest.fixture
def coffee():
    return reduced(data.coffee())


def correlation(texture, rows, columns):
    """Of a texture with itself, moved."""
    moved = np.roll(texture, (rows, columns), axis=(0, 1))[rows:, columns:]
    return np.corrcoef(texture[rows:, columns:].ravel(), moved.ravel())[0, 1]


def test_a_texture_has_the_spectrum_and_the_values_of_its_sample_at_other_places():
    streaks = Rain(density=0.01, length=15, angle=0, brightness=0.7)(
        np.zeros((128, 192, 3), np.float32), RandomState(0)
    )
    texture = texture_like(streaks, 128, 192, RandomState(1))
    np.testing.assert_allclose(np.sort(texture, axis=None), np.sort(streaks, axis=None), atol=1e-5)
    for place in ((5, 0), (10, 0), (0, 2), (0, 5), (5, 5)):
        assert correlation(texture, *place) == pytest.approx(correlation(streaks, *place), abs=0.15)
    assert correlation(texture, 5, 0) > 5 * correlation(texture, 0, 5)  # they fall
    assert abs(np.corrcoef(texture.ravel(), streaks.ravel())[0, 1]) < 0.2
    assert np.ptp(texture, axis=2).max() < 1e-5  # they are gray
    assert np.array_equal(texture, texture_like(streaks, 128, 192, RandomState(1)))
    assert not np.array_equal(texture, texture_like(streaks, 128, 192, RandomState(2)))


@pytest.mark.parametrize("size", [(30, 200), (150, 40), (1, 1)])
def test_a_texture_is_of_any_size(size):
    sample = Noise(sigma=30)(np.zeros((64, 80, 3), np.float32), RandomState(0))
    texture = texture_like(sample, *size, RandomState(0))
    assert texture.shape == (*size, 3)
    assert size == (1, 1) or texture.std() == pytest.approx(sample.std(), rel=0.1)


def test_even_haze_is_transferred_exactly(cat, coffee):
    depth = np.ones(cat.shape[:2], np.float32)
    result = transferred(coffee, add_haze(cat, depth, 1.2, 0.9), cat, RandomState(0))
    np.testing.assert_allclose(result, add_haze(coffee, depth, 1.2, 0.9), atol=1e-4)


def test_command_transfers_the_noise_of_a_photograph(cat, coffee, tmp_path, capsys):
    for name, image in (
        ("noisy", Noise(sigma=20)(cat, RandomState(0))),
        ("clean", 0.2 + 0.6 * coffee),
    ):
        cv2.imwrite(str(tmp_path / f"{name}.png"), to_8_bit(image)[..., ::-1])
    arguments = [
        "--content",
        str(tmp_path / "clean.png"),
        "--style",
        str(tmp_path / "noisy.png"),
        "--weights",
        "denoise",
    ]
    assert cli.main(["transfer", *arguments, "-o", str(tmp_path / "out.png")]) == 0
    assert "out.png" in capsys.readouterr().out
    noisy, clean = (
        cv2.imread(str(tmp_path / name)).astype(float) for name in ("out.png", "clean.png")
    )
    noise = noisy - clean
    assert noise.std() == pytest.approx(20, rel=0.15)
    assert abs(correlation(noise, 0, 1)) < 0.1
    assert cli.main(["transfer", *arguments, "-o", str(tmp_path / "out.gif")]) == 2
    assert "out.gif is no image by its name" in capsys.readouterr().err


def test_photograph_without_texture_is_refused(tmp_path, capsys):
    files = ("--content", tmp_path / "clean.png", "--style", tmp_path / "flat.png")
    command = ("transfer", *files, "--weights", "denoise", "-o", tmp_path / "out.png")
    for side in (1, 16):
        for file in files[1::2]:
            cv2.imwrite(str(file), np.full((side, side, 3), (10, 20, 30), np.uint8))
        assert cli.main([*map(str, command)]) == 2
        assert "flat.png has one colour everywhere" in capsys.readouterr().err


def test_photographs_that_are_read_are_not_overwritten(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("clean", "noisy"):
        Path(f"{name}.png").write_bytes(name.encode())
    Path("link.png").symlink_to("noisy.png")
    photographs = ("--content", "clean.png", "--style", "noisy.png", "--weights", "denoise")
    for output, option in (("./clean.png", "--content"), ("link.png", "--style")):
        assert cli.main(["transfer", *photographs, "-o", output]) == 2
        assert f"-o {Path(output)} would overwrite {option}" in capsys.readouterr().err
    assert Path("clean.png").read_bytes() == b"clean"
    assert Path("noisy.png").read_bytes() == b"noisy"
