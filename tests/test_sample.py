"""The sample data sets that `basicsr prepare sample` makes."""

import cv2
import numpy as np
import pytest

from constyle_arch import cli
from constyle_arch.data.paired_restoration_dataset import PairedRestorationDataset
from constyle_arch.data.preparation import sample
from constyle_arch.errors import DataError, UserError

TASKS = ("dehaze", "derain", "deblur", "denoise")


@pytest.fixture
def two_photographs(monkeypatch):
    monkeypatch.setattr(sample, "TRAIN_PHOTOGRAPHS", ("astronaut.png", "motorcycle_left.png"))
    monkeypatch.setattr(sample, "CHANNEL_ORDERS", ["rgb", "gbr"])
    monkeypatch.setattr(sample, "VERSIONS_TO_TRAIN", 2)


def test_train_and_test_photographs_are_apart():
    assert not set(sample.TRAIN_PHOTOGRAPHS) & set(sample.TEST_PHOTOGRAPHS)
    # one scene, so both on one side
    assert set(sample.STEREO_PAIR) <= set(sample.TRAIN_PHOTOGRAPHS)


def test_samples_can_be_trained_on_from_folders_and_lmdb(tmp_path, two_photographs, capsys):
    assert cli.main(["prepare", "sample", "-o", str(tmp_path)]) == 0
    for task in TASKS[:3]:
        home = tmp_path / task
        names = {
            "name": "sample",
            "phase": "val",
            "lq_name": "{}_*_*" if task == "dehaze" else "{}_*",
        }
        folders, lmdb = (
            PairedRestorationDataset(
                {**names, "dataroot_lq": str(home / lq), "dataroot_gt": str(home / gt)}
            )
            for lq, gt in (
                ("train/lq", "train/gt"),
                ("prepared/train/lq.lmdb", "prepared/train/gt.lmdb"),
            )
        )
        assert len(folders) == len(lmdb) == 8
        for index in range(8):
            assert folders[index]["name"] == lmdb[index]["name"]
            assert folders[index]["lq"].equal(lmdb[index]["lq"])
            assert folders[index]["gt"].equal(lmdb[index]["gt"])
            assert not folders[index]["lq"].equal(folders[index]["gt"])
    assert {path.name for path in (tmp_path / "denoise" / "train").iterdir()} == {"gt"}

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    sample.prepare_sample(str(tmp_path))
    assert capsys.readouterr().out.count("already exists") == 4
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_hazy_photographs_follow_the_scattering_model(tmp_path, two_photographs):
    sample.prepare_sample(str(tmp_path), ["dehaze"])
    home = tmp_path / "dehaze" / "test"
    for hazy in (home / "lq").iterdir():
        stem, airlight, _ = hazy.stem.rsplit("_", 2)
        clean = cv2.imread(str(home / "gt" / f"{stem}.png")).astype(float) / 255
        image = cv2.imread(str(hazy)).astype(float) / 255
        contrast = clean - float(airlight)
        pixels = np.abs(contrast).min(axis=2) > 0.2
        transmission = (image - float(airlight))[pixels] / contrast[pixels]
        # one transmission for the three channels of a pixel
        assert np.median(np.ptp(transmission, axis=1)) < 0.03
        assert 0.1 < np.median(transmission) < 0.8


def test_samples_are_the_same_every_time(tmp_path, two_photographs):
    for run in ("a", "b"):
        sample.prepare_sample(str(tmp_path / run), ["dehaze", "derain", "deblur"])
    files = [
        {
            path.relative_to(tmp_path / run): path.read_bytes()
            for path in (tmp_path / run).rglob("*.png")
        }
        for run in ("a", "b")
    ]
    assert len(files[0]) == 3 * (4 + 8 + 2 + 6)
    assert files[0] == files[1]


def test_unfinished_sample_is_not_taken_for_a_finished_one(tmp_path, two_photographs, monkeypatch):
    monkeypatch.setattr(
        sample, "pack", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(UserError, match="No space left"):
        sample.prepare_sample(str(tmp_path), ["derain"])
    assert not (tmp_path / "derain").exists()
    monkeypatch.undo()
    monkeypatch.setattr(sample, "TRAIN_PHOTOGRAPHS", ("astronaut.png",))
    sample.prepare_sample(str(tmp_path), ["derain"])
    assert (tmp_path / "derain" / "prepared" / "train" / "lq.lmdb").is_dir()
    assert not (tmp_path / "derain.unfinished").exists()


def test_folders_of_a_samples_name_are_left_alone(tmp_path, two_photographs):
    for folder in ("derain", "dehaze.unfinished"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "holiday.jpg").write_bytes(b"precious")
    with pytest.raises(
        DataError, match=r"derain already exists, not written by this command; choose another"
    ):
        sample.prepare_sample(str(tmp_path), ["dehaze", "derain"])
    assert not (tmp_path / "dehaze").exists()
    sample.prepare_sample(str(tmp_path), ["dehaze"])
    assert {path.name for path in tmp_path.iterdir()} == {"derain", "dehaze", "dehaze.unfinished"}
    assert (tmp_path / "dehaze.unfinished" / "holiday.jpg").read_bytes() == b"precious"


def test_missing_scikit_image_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "skimage", None)
    with pytest.raises(UserError, match=r"pip install 'constyle-arch\[sample\]'"):
        sample.prepare_sample(str(tmp_path))


def test_unwritable_output_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written to .*file"):
        sample.prepare_sample(str(tmp_path / "file"))


def test_task_that_does_not_exist_is_refused(tmp_path, capsys):
    assert cli.main(["prepare", "sample", "desnow", "-o", str(tmp_path)]) == 2
    assert (
        "no sample for desnow; there are dehaze, derain, deblur, denoise" in capsys.readouterr().err
    )
