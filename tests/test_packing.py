"""Packing folders into LMDBs with `basicsr prepare`, and checking what is packed."""

import cv2
import lmdb
import numpy as np
import pytest
import torch

from constyle_arch import cli
from constyle_arch.data import image_stores
from constyle_arch.data.image_stores import ImageFolder, ImageLmdb
from constyle_arch.data.paired_restoration_dataset import PairedRestorationDataset
from constyle_arch.data.preparation import unfinished
from constyle_arch.data.preparation.packing import check, pack
from constyle_arch.data.preparation.plan import Plan
from constyle_arch.errors import DataError
from tests.shared import contents, write_pairs
from tests.stand_ins import prepare, write_stand_ins


def test_whole_images_are_stored_byte_for_byte(tmp_path):
    write_pairs(tmp_path, 3)
    pack(Plan(gt=str(tmp_path / "gt"), lq=str(tmp_path / "lq")), tmp_path / "out", workers=2)
    for side in ("lq", "gt"):
        expected = {path.stem: path.read_bytes() for path in (tmp_path / side).iterdir()}
        assert contents(tmp_path / "out" / f"{side}.lmdb") == expected
        assert {path.name for path in (tmp_path / "out" / f"{side}.lmdb").iterdir()} == {
            "data.mdb",
            "meta_info.txt",
        }
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "lq.lmdb",
        "gt.lmdb",
        "report.txt",
    }
    assert [path.name for path in tmp_path.iterdir() if "unfinished" in path.name] == []


def test_lmdbs_are_read_by_basicsrs_own_data_set(tmp_path):
    from basicsr.data.paired_image_dataset import PairedImageDataset

    write_pairs(tmp_path, 3)
    pack(Plan(gt=str(tmp_path / "gt"), lq=str(tmp_path / "lq")), tmp_path / "out", workers=0)
    roots = {f"dataroot_{side}": str(tmp_path / "out" / f"{side}.lmdb") for side in ("lq", "gt")}
    theirs = PairedImageDataset(
        {**roots, "io_backend": {"type": "lmdb"}, "phase": "val", "scale": 1}
    )
    ours = PairedRestorationDataset({**roots, "phase": "val"})
    for index in range(3):
        assert torch.equal(theirs[index]["lq"], ours[index]["lq"])


def break_some(folder):
    """Six good pairs and one of each kind of problem; returns the names a report must give."""
    write_pairs(folder, 6)
    rng = np.random.default_rng(1)
    lq, gt = folder / "lq", folder / "gt"
    image = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
    for name in ("truncated", "text", "size", "tiny", "missing", "twice", "clean_broken"):
        cv2.imwrite(str(lq / f"{name}.png"), rng.integers(0, 256, (40, 48, 3), dtype=np.uint8))
        if name != "missing":
            cv2.imwrite(str(gt / f"{name}.png"), rng.integers(0, 256, (40, 48, 3), dtype=np.uint8))
    (lq / "truncated.png").write_bytes((lq / "truncated.png").read_bytes()[:-500])
    (lq / "text.png").write_text("not an image")
    cv2.imwrite(str(lq / "size.png"), image[:, :40])
    for side in (lq, gt):
        cv2.imwrite(str(side / "tiny.png"), image[:1, :1] + (side == lq))
    cv2.imwrite(str(gt / "twice.bmp"), image)
    (gt / "clean_broken.png").write_bytes(b"")
    (lq / "link.png").symlink_to("nowhere.png")
    return folder


PROBLEMS = {
    "truncated.png cannot be decoded": 1,
    "text.png cannot be decoded": 1,
    "clean_broken.png cannot be decoded": 1,
    "lq/clean_broken.png": 1,  # cannot be packed without it
    "size.png: 40×40, its clean image 48×40": 1,
    "tiny.png: 1×1": 2,
    "no clean partner by lq_name '{}' and gt_name '{}': missing": 1,
    "twice.bmp and": 1,
    "link.png is a link to a file that does not exist": 1,
}


def test_every_problem_is_listed_by_name_and_nothing_is_dropped_silently(tmp_path):
    break_some(tmp_path)
    plan = Plan(gt=str(tmp_path / "gt"), lq=str(tmp_path / "lq"), smallest=8)
    checked = check(plan, workers=0).lines()
    with pytest.raises(DataError) as error:
        pack(plan, tmp_path / "out", workers=2)
    for text, times in PROBLEMS.items():
        assert checked.count(text) == times, checked
        assert str(error.value).count(text) == times
    assert not (tmp_path / "out").exists()
    assert "out.unfinished/problems.txt" in str(error.value)
    assert (tmp_path / "out.unfinished" / "problems.txt").read_text() == checked

    report = pack(plan, tmp_path / "out", workers=0, leave_out=True)
    assert report.lines() == checked == (tmp_path / "out" / "report.txt").read_text()
    for side in ("lq", "gt"):
        kept = set(contents(tmp_path / "out" / f"{side}.lmdb"))
        assert kept >= {"000", "001", "002", "003", "004", "005"}
        assert not kept & {"text", "missing", "link", "clean_broken"} - (
            {"text"} if side == "gt" else set()
        )


def test_files_of_one_content_and_files_that_are_no_images_are_noted(tmp_path):
    write_pairs(tmp_path, 3)
    (tmp_path / "gt" / "003.png").write_bytes((tmp_path / "gt" / "001.png").read_bytes())
    (tmp_path / "gt" / "Thumbs.db").write_text("")
    report = pack(
        Plan(gt=str(tmp_path / "gt"), lq=str(tmp_path / "lq")), tmp_path / "out", workers=0
    ).lines()
    # 003 has no degraded image and is not packed
    assert f"{tmp_path / 'gt' / '001.png'}" not in report
    assert "1 clean images have no degraded one and are not packed: 003" in report
    assert "Thumbs.db" in report
    report = pack(Plan(gt=str(tmp_path / "gt")), tmp_path / "clean", workers=0).lines()
    assert (
        f"the same content: {tmp_path / 'gt' / '001.png'} = {tmp_path / 'gt' / '003.png'}" in report
    )


def test_names_that_cannot_be_keys_are_reported(tmp_path):
    write_pairs(tmp_path, 1)
    for name in ("two\nlines", "a\rb", "\udcff", "x" * 200 + "/" + "y" * 200 + "/" + "z" * 200):
        target = tmp_path / "gt" / f"{name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((tmp_path / "gt" / "000.png").read_bytes())
    report = check(Plan(gt=str(tmp_path / "gt")), workers=0)
    ((what, names),) = report.problems.items()
    assert "more than 511 bytes" in what
    assert len(names) == 4


def test_keys_that_meet_are_not_overwritten_silently(tmp_path):
    write_pairs(tmp_path, 1)
    (tmp_path / "gt" / "000_s001_s001.png").write_bytes((tmp_path / "gt" / "000.png").read_bytes())
    (tmp_path / "gt" / "000_s001.png").write_bytes((tmp_path / "gt" / "000.png").read_bytes())
    pack(Plan(gt=str(tmp_path / "gt"), sub_image=64), tmp_path / "out", workers=0)
    assert len(contents(tmp_path / "out" / "gt.lmdb")) == 3
    report = pack(Plan(gt=str(tmp_path / "gt")), tmp_path / "whole", workers=0)
    assert not report.problems


def test_the_map_grows_as_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(unfinished, "INITIAL_MAP_SIZE", 2**16)
    monkeypatch.setattr(unfinished, "COMMIT_BYTES", 2**15)
    (tmp_path / "gt").mkdir()
    for index in range(20):
        noise = np.random.default_rng(index).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "gt" / f"{index}.png"), noise)
    pack(Plan(gt=str(tmp_path / "gt")), tmp_path / "out", workers=0)
    assert len(contents(tmp_path / "out" / "gt.lmdb")) == 20


@pytest.mark.slow
def test_twenty_thousand_images_are_packed(tmp_path):
    (tmp_path / "gt").mkdir()
    rng = np.random.default_rng(0)
    for index in range(20_000):
        coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (160, 160), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(
            str(tmp_path / "gt" / f"{index:05}.png"), image, [cv2.IMWRITE_PNG_COMPRESSION, 0]
        )
    pack(Plan(gt=str(tmp_path / "gt")), tmp_path / "out")
    store = ImageLmdb(tmp_path / "out" / "gt.lmdb")
    assert len(store.names) == 20_000
    assert (
        tmp_path / "out" / "gt.lmdb" / "data.mdb"
    ).stat().st_size > 1.4 * 2**30  # beyond the first map
    for name in store.names[::997]:
        assert store.read(name) == (tmp_path / "gt" / f"{name}.png").read_bytes()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--sub-image", "-5"), "size is -5"),
        (("--sub-image", "16", "--overlap", "16"), "overlap is 16; it must be in [0, 16)"),
        (("--lq-name", "rain"), "at least one"),
        (("--gt-name", "{}_{}"), "same number of {}"),
    ],
)
def test_plans_that_cannot_be_are_refused(tmp_path, capsys, flags, message):
    write_pairs(tmp_path, 1)
    roots = (
        "--gt",
        str(tmp_path / "gt"),
        "--lq",
        str(tmp_path / "lq"),
        "-o",
        str(tmp_path / "out"),
    )
    assert cli.main(["prepare", "folders", *roots, *flags]) == 2
    assert message in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"gt", "lq"}


@pytest.mark.parametrize(
    ("lq_form", "gt_form", "found"),
    [("{}", "{}", "{}"), ("{}_0.8", "{}", "{}_*"), ("rain-{}", "norain-{}", "rain-{}")],
)
def test_forms_of_names_are_found(tmp_path, monkeypatch, capsys, lq_form, gt_form, found):
    """One that matches nothing is reported by the form of the others."""
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path, 3)
    for side, form in (("lq", lq_form), ("gt", gt_form)):
        for path in (tmp_path / side).iterdir():
            path.rename(path.with_stem(form.format(path.stem)))
    extra = tmp_path / "lq" / f"{lq_form.format('9')}.png"
    extra.write_bytes(next((tmp_path / "lq").iterdir()).read_bytes())
    command = ["prepare", "folders", "--gt", "gt", "--lq", "lq", "--check", "--workers", "0"]
    assert cli.main(command) == 2
    error = capsys.readouterr().err
    assert f"1 of 4 degraded images have no clean partner by lq_name '{found}'" in error
    extra.unlink()
    listed, list_files = [], image_stores.files_below

    def files_below(folder):
        listed.append(folder.name)
        return list_files(folder)

    monkeypatch.setattr(image_stores, "files_below", files_below)
    assert cli.main(command) == 0
    assert sorted(listed) == ["gt", "lq"]  # each once


@pytest.mark.parametrize(
    ("roots", "message"),
    [
        (("--gt", "gone"), "--gt: gone does not exist"),
        (("--gt", ""), "--gt is empty"),
        (("--gt", "gt", "--lq", "photo.png"), "--lq: photo.png is a file"),
    ],
)
def test_folder_that_is_none_is_named_with_its_option(
    tmp_path, monkeypatch, capsys, roots, message
):
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path, 1)
    (tmp_path / "photo.png").touch()
    assert cli.main(["prepare", "folders", *roots, "-o", "out"]) == 2
    assert f"{message}; name the folder of the images." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ("mine", "mine holds the input mine/gt"),
        ("mine/gt", "mine/gt is the input mine/gt"),
        ("link", "link is the input mine/gt"),
        ("mine/gt/out", "mine/gt/out lies in the input mine/gt"),
        ("mine/lq/out", "mine/lq/out lies in the input mine/lq"),
        ("photographs", "photographs already exists, not written by this command"),
        ("nowhere", "nowhere already exists"),
        (
            "other",
            "other.unfinished, which would be used meanwhile, was not written by this command",
        ),
        ("packed", "packed already exists, prepared before"),
    ],
)
def test_folder_that_is_somebody_elses_is_left_alone(tmp_path, monkeypatch, capsys, output, why):
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "mine", 1)
    roots = ("--gt", "mine/gt", "--lq", "mine/lq")
    prepare("folders", *roots, "-o", "packed")
    (tmp_path / "link").symlink_to("mine/gt")
    (tmp_path / "nowhere").symlink_to("gone")
    for folder in ("photographs", "other.unfinished/gt.lmdb"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "holiday.jpg").write_bytes(b"precious")
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(["prepare", "folders", *roots, "-o", output, "--workers", "0"]) == 2
    error = capsys.readouterr().err
    assert why in error
    assert error.endswith("; choose another folder.\n")
    assert "remove" not in error
    assert sorted(tmp_path.rglob("*")) == before


def test_part_of_a_data_set_does_not_take_the_place_of_the_download(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_stand_ins(tmp_path, ["GoPro"])
    assert cli.main(["prepare", "gopro", "-o", "datasets/GoPro"]) == 2
    error = capsys.readouterr().err
    assert (
        "datasets/GoPro/train is the input datasets/GoPro/train/*/sharp; choose another folder"
        in error
    )
    assert not list(tmp_path.rglob("*.unfinished"))


def test_a_part_that_is_not_there_is_left_out_and_a_missing_download_explained(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["prepare", "gopro"]) == 2
    assert "datasets/README.md, section GoPro" in capsys.readouterr().err
    write_stand_ins(tmp_path, ["GoPro"])
    (tmp_path / "datasets" / "GoPro" / "train").rename(tmp_path / "elsewhere")
    prepare("gopro")
    output = capsys.readouterr().out
    assert "dataroot_lq: datasets/GoPro/prepared/test/lq.lmdb" in output
    assert "GoPro, test, was published with 1111 such images; here are 1." in output
    assert not (tmp_path / "datasets" / "GoPro" / "prepared" / "train").exists()
    prepare("gopro")
    assert "already exists" in capsys.readouterr().out


def test_only_listed_images_are_packed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_stand_ins(tmp_path, ["RealBlur-J"])
    prepare("realblur-j", "--check")
    assert not (tmp_path / "datasets" / "RealBlur-J").exists()
    prepare("realblur-j")
    keys = contents(tmp_path / "datasets" / "RealBlur-J" / "prepared" / "test" / "lq.lmdb")
    assert set(keys) == {"scene001/blur/blur_1"}
    (listing,) = (tmp_path / "datasets" / "RealBlur").glob("*.txt")
    listing.write_text(listing.read_text().replace("scene001", "scene009"))
    with pytest.raises(DataError, match="holds no images"):
        check(Plan(gt="datasets/RealBlur/*/*/gt", listed_in=str(listing)))


def test_lmdb_is_read_without_a_lock_file(tmp_path):
    write_pairs(tmp_path, 1)
    pack(Plan(gt=str(tmp_path / "gt")), tmp_path / "out", workers=0)
    with lmdb.open(str(tmp_path / "out" / "gt.lmdb"), readonly=True, lock=False) as environment:
        assert environment.stat()["entries"] == len(ImageFolder(tmp_path / "gt").names)
