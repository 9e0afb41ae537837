"""The sample and the haze it is made with."""

import cv2
import numpy as np
import pytest

from constyle_arch.data import PairedRestorationDataset
from constyle_arch.data.haze import add_haze, depth_from_disparity, smooth_depth
from constyle_arch.errors import UserError
from constyle_arch.preparation import sample


def test_haze_follows_the_scattering_model():
    rng = np.random.default_rng(0)
    clean, depth = rng.random((6, 7, 3), dtype=np.float32), rng.random((6, 7), dtype=np.float32)
    hazy = add_haze(clean, depth, beta=1.5, airlight=0.9)
    for row in range(6):
        for column in range(7):
            t = np.exp(-1.5 * depth[row, column])
            np.testing.assert_allclose(hazy[row, column], clean[row, column] * t + 0.9 * (1 - t), rtol=1e-5)
    np.testing.assert_array_equal(add_haze(clean, depth, beta=0, airlight=0.9), clean)


@pytest.mark.parametrize("size", [(64, 96), (96, 64), (8, 8)])
def test_smooth_depth_is_smooth_and_in_range(size):
    depth = smooth_depth(*size, np.random.default_rng(1))
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


@pytest.fixture
def two_photographs(monkeypatch):
    monkeypatch.setattr(sample, "TRAIN_PHOTOGRAPHS", ("astronaut.png", "motorcycle_left.png"))
    monkeypatch.setattr(sample, "CHANNEL_ORDERS", ["rgb", "gbr"])
    monkeypatch.setattr(sample, "HAZES_PER_TRAIN_IMAGE", 2)


def test_train_and_test_photographs_are_apart():
    assert not set(sample.TRAIN_PHOTOGRAPHS) & set(sample.TEST_PHOTOGRAPHS)
    assert set(sample.STEREO_PAIR) <= set(sample.TRAIN_PHOTOGRAPHS)  # one scene, so both on one side


def test_sample_can_be_trained_on_from_folders_and_lmdb(tmp_path, two_photographs, capsys):
    sample.prepare_sample(str(tmp_path))
    home = tmp_path / "dehaze"
    names = {"name": "sample", "phase": "val", "lq_name": "{}_*_*", "gt_name": "{}"}
    folders = PairedRestorationDataset(
        {**names, "dataroot_lq": str(home / "train" / "hazy"), "dataroot_gt": str(home / "train" / "clean")}
    )
    lmdb = PairedRestorationDataset(
        {**names, "dataroot_lq": str(home / "train_hazy.lmdb"), "dataroot_gt": str(home / "train_clean.lmdb")}
    )
    assert len(folders) == len(lmdb) == 8
    for index in range(8):
        assert folders[index]["name"] == lmdb[index]["name"]
        assert folders[index]["lq"].equal(lmdb[index]["lq"])
        assert folders[index]["gt"].equal(lmdb[index]["gt"])
    for hazy in (home / "test" / "hazy").iterdir():
        stem, airlight, _ = hazy.stem.rsplit("_", 2)
        clean = cv2.imread(str(home / "test" / "clean" / f"{stem}.png")).astype(float) / 255
        image = cv2.imread(str(hazy)).astype(float) / 255
        contrast = clean - float(airlight)
        pixels = np.abs(contrast).min(axis=2) > 0.2
        transmission = (image - float(airlight))[pixels] / contrast[pixels]
        assert np.median(np.ptp(transmission, axis=1)) < 0.03  # one transmission for the three channels of a pixel
        assert 0.1 < np.median(transmission) < 0.8

    before = {path: path.stat().st_mtime_ns for path in home.rglob("*")}
    sample.prepare_sample(str(tmp_path))
    assert "is there already" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*")} == before


def test_sample_is_the_same_every_time(tmp_path, two_photographs):
    for run in ("a", "b"):
        sample.prepare_sample(str(tmp_path / run))
    files = [
        {path.relative_to(tmp_path / run): path.read_bytes() for path in (tmp_path / run).rglob("*.png")}
        for run in ("a", "b")
    ]
    assert files[0] == files[1]


def test_unfinished_sample_is_not_taken_for_a_finished_one(tmp_path, two_photographs, monkeypatch):
    monkeypatch.setattr(sample, "_write_lmdb", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(UserError, match="No space left"):
        sample.prepare_sample(str(tmp_path))
    assert not (tmp_path / "dehaze").exists()
    monkeypatch.undo()
    monkeypatch.setattr(sample, "TRAIN_PHOTOGRAPHS", ("astronaut.png",))
    sample.prepare_sample(str(tmp_path))
    assert (tmp_path / "dehaze" / "train_hazy.lmdb").is_dir()
    assert not (tmp_path / "dehaze.unfinished").exists()


def test_missing_scikit_image_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "skimage", None)
    with pytest.raises(UserError, match=r"pip install 'constyle-arch\[sample\]'"):
        sample.prepare_sample(str(tmp_path))


def test_unwritable_output_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written to .*file"):
        sample.prepare_sample(str(tmp_path / "file"))
