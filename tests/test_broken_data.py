"""Broken and unusual data: one clear error each, or the handling that `docs/data.md` documents."""

import os
import re
import shutil
import tempfile
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
import torch

from constyle_arch.data.paired_restoration_dataset import PairedRestorationDataset
from constyle_arch.data.preparation.packing import check, pack
from constyle_arch.data.preparation.plan import Plan
from constyle_arch.errors import DataError
from constyle_arch.images import decode
from tests.photographs import png_claiming
from tests.shared import REPOSITORY, write_pairs

PAGE = (REPOSITORY / "docs" / "data.md").read_text()
TABLE = dict(
    re.findall(
        r"^\| (.+?) \| (.+?) \|$", PAGE.split("what happens to broken files")[1], re.MULTILINE
    )
)

NOISE = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
JPEG = cv2.imencode(".jpg", NOISE)[1].tobytes()


def pairs(folder):
    """Three pairs; the middle one is what a test breaks."""
    return write_pairs(folder, 3)


def dataset(folder, suffix="", **options):
    roots = {f"dataroot_{side}": str(folder / f"{side}{suffix}") for side in ("lq", "gt")}
    return PairedRestorationDataset({"name": "x", "phase": "val", **roots, **options})


def read_all(folder, suffix="", **options):
    items = dataset(folder, suffix, **options)
    return [items[index] for index in range(len(items))]


def in_lmdb(folder):
    pack(Plan(gt=str(folder / "gt"), lq=str(folder / "lq")), folder / "packed", workers=0)
    return folder / "packed"


def replace(folder, content, suffix=".png"):
    (folder / "lq" / "001.png").unlink()
    (folder / "lq" / f"001{suffix}").write_bytes(content)
    return folder


def encoded(image, suffix=".png"):
    return cv2.imencode(suffix, image)[1].tobytes()


def missing_twin(folder):
    (folder / "gt" / "001.png").unlink()
    return read_all(folder)


def size_mismatch(folder):
    return read_all(replace(folder, encoded(NOISE[:, :44])))


def empty_folder(folder):
    shutil.rmtree(folder / "lq")
    (folder / "lq").mkdir()
    return read_all(folder)


def missing_folder(folder):
    shutil.rmtree(folder / "lq")
    return read_all(folder)


def lmdb_that_is_none(folder):
    packed = in_lmdb(folder)
    (packed / "lq.lmdb" / "data.mdb").write_bytes(b"no database" * 1000)
    return read_all(packed, ".lmdb")


def lmdb_cut_off(folder):
    packed = in_lmdb(folder)
    os.truncate(packed / "lq.lmdb" / "data.mdb", 12288)
    return read_all(packed, ".lmdb")


def lmdb_without_meta_info(folder):
    packed = in_lmdb(folder)
    (packed / "gt.lmdb" / "meta_info.txt").unlink()
    return read_all(packed, ".lmdb")


def wrong_key(folder):
    packed = in_lmdb(folder)
    with (
        lmdb.open(str(packed / "lq.lmdb")) as environment,
        environment.begin(write=True) as transaction,
    ):
        transaction.delete(b"001")
    return read_all(packed, ".lmdb")


def one_name(folder):
    shutil.copy(folder / "lq" / "001.png", folder / "lq" / "001.jpg")
    return read_all(folder)


def link_to_nothing(folder):
    (folder / "lq" / "003.png").symlink_to("nowhere.png")
    return read_all(folder)


ERRORS = {
    "missing twin": missing_twin,
    "size mismatch": size_mismatch,
    "truncated PNG": lambda folder: read_all(replace(folder, encoded(NOISE)[:-300])),
    "truncated JPEG": lambda folder: read_all(replace(folder, JPEG[: len(JPEG) * 9 // 10], ".jpg")),
    "text renamed .png": lambda folder: read_all(replace(folder, b"Dear reader")),
    "empty file": lambda folder: read_all(replace(folder, b"")),
    "empty folder": empty_folder,
    "missing folder": missing_folder,
    "LMDB that is none": lmdb_that_is_none,
    "LMDB cut off": lmdb_cut_off,
    "LMDB without meta_info.txt": lmdb_without_meta_info,
    "wrong key": wrong_key,
    "crop larger than the image": lambda folder: read_all(folder, phase="train", gt_size=41),
    "32-bit float": lambda folder: read_all(
        replace(folder, encoded(NOISE.astype(np.float32), ".tif"), ".tif")
    ),
    "more than 200 million pixels": lambda folder: read_all(
        replace(folder, png_claiming(60_000, 60_000))
    ),
    "names that differ in their suffix alone": one_name,
    "link to nothing": link_to_nothing,
}


@pytest.mark.parametrize("kind", ERRORS)
def test_broken_data_is_one_clear_error(tmp_path, kind):
    with pytest.raises(DataError) as error:
        ERRORS[kind](pairs(tmp_path))
    (documented,) = re.findall(r"`(.+?)`", TABLE[kind])
    assert documented in str(error.value)
    # the file or folder is named
    assert "001" in str(error.value) or str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_broken_images_are_listed_when_preparing(tmp_path):
    for kind in (
        "truncated PNG",
        "truncated JPEG",
        "text renamed .png",
        "empty file",
        "32-bit float",
        "size mismatch",
    ):
        folder = pairs(tmp_path / kind)
        with pytest.raises(DataError):
            ERRORS[kind](folder)
        report = check(Plan(gt=str(folder / "gt"), lq=str(folder / "lq")), workers=0)
        ((_, (named,)),) = report.problems.items()
        assert "001" in named


def test_extra_clean_image_is_named_in_a_warning(tmp_path, caplog):
    (pairs(tmp_path) / "lq" / "001.png").unlink()
    assert len(read_all(tmp_path)) == 2
    (documented,) = re.findall(r"`(.+?)`", TABLE["extra clean image"])
    assert documented in caplog.text
    assert "001" in caplog.text


def test_images_of_one_pixel_are_restored_and_their_undefined_scores_told(tmp_path):
    from constyle_arch.reporting.scores import Mean

    folder = pairs(tmp_path)
    for side in ("lq", "gt"):
        cv2.imwrite(str(folder / side / "001.png"), NOISE[:1, :1])
    assert read_all(folder)[1]["lq"].shape == (3, 1, 1)
    assert Mean.of([0.5, float("nan"), 0.7]).value == pytest.approx(0.6)
    assert "1×1 image" in TABLE


def by_pillow(mode, suffix, **options):
    """The noise in a mode that OpenCV does not write."""
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(NOISE[..., ::-1]).convert(mode).save(file, suffix, **options)
    return file.getvalue()


DEEP = np.random.default_rng(2).integers(0, 65536, (40, 48, 3), dtype=np.uint16)


def test_16_bits_are_all_read(tmp_path):
    assert np.array_equal(decode(encoded(DEEP), "x"), DEEP)
    replace(pairs(tmp_path), encoded(DEEP))
    expected = torch.from_numpy(DEEP[..., ::-1].astype(np.float64).transpose(2, 0, 1) / 65535)
    torch.testing.assert_close(read_all(tmp_path)[1]["lq"].double(), expected, atol=1e-7, rtol=0)
    assert "16 bits" in TABLE


def test_palette_becomes_colour():
    from PIL import Image

    content = by_pillow("P", "PNG")
    with Image.open(__import__("io").BytesIO(content)) as image:
        expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(decode(content, "x")[..., ::-1], expected)
    assert "palette" in TABLE


def test_what_follows_a_jpeg_does_not_make_it_damaged():
    for trailer in (b"\xff\xda trailing bytes", b"x" * 10000, JPEG[:300]):
        assert np.array_equal(decode(JPEG + trailer, "x"), decode(JPEG, "x"))
    progressive = cv2.imencode(
        ".jpg", NOISE, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 2]
    )[1]
    content = progressive.tobytes()
    assert decode(content, "x").shape == NOISE.shape
    for share in (0.3, 0.6, 0.9, 0.999):
        with pytest.raises(DataError, match="cannot be decoded"):
            decode(content[: int(share * len(content))], "x")


def test_gray_becomes_three_equal_channels():
    image = decode(encoded(NOISE[..., 0]), "x")
    assert all(np.array_equal(image[..., channel], NOISE[..., 0]) for channel in range(3))
    assert "gray" in TABLE


def test_cmyk_becomes_rgb():
    content = by_pillow("CMYK", "TIFF")
    assert np.abs(decode(content, "x").astype(int) - NOISE).max() <= 2
    assert "CMYK" in TABLE


def test_alpha_is_left_out():
    assert np.array_equal(decode(encoded(np.dstack([NOISE, NOISE[..., 0]])), "x"), NOISE)
    assert np.array_equal(decode(encoded(np.dstack([DEEP, DEEP[..., 0]])), "x"), DEEP)
    assert "alpha" in TABLE


def test_exif_orientation_is_applied():
    from PIL import Image

    exif = Image.Exif()
    exif[274] = 6  # to be turned clockwise
    upright, turned = (
        by_pillow("RGB", "JPEG", quality=95),
        by_pillow("RGB", "JPEG", quality=95, exif=exif),
    )
    assert np.array_equal(decode(turned, "x"), np.rot90(decode(upright, "x"), -1))
    assert "EXIF orientation" in TABLE


def test_names_of_any_kind_are_kept(tmp_path):
    names = ["Straße 1.2.3", "夕焼け", "a (1)", "b.c.d", "%s{}*[x]"]
    folder = write_pairs(tmp_path, len(names))
    for index, name in enumerate(names):
        for side in ("lq", "gt"):
            (folder / side / f"{index:03}.png").rename(folder / side / f"{name}.png")
    packed = in_lmdb(folder)
    for items in (read_all(folder), read_all(packed, ".lmdb")):
        assert [item["name"] for item in items] == sorted(names)
    assert "non-ASCII and dotted names" in TABLE


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    folder = pairs(tmp_path / "here")
    for side in ("lq", "gt"):
        there = tmp_path / "there" / side
        shutil.copytree(folder / side, there)
        (folder / side / "more").symlink_to(there)
        (there / "back").symlink_to(folder / side)
        (folder / side / "self").symlink_to(".")
    assert [item["name"] for item in read_all(folder)] == [
        "000",
        "001",
        "002",
        "more/000",
        "more/001",
        "more/002",
    ]
    assert "symlink loop" in TABLE


@pytest.fixture
def powerless():
    """A folder of an ordinary user, who we are from here on: permissions mean nothing to root."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    if os.getuid() == 0:
        os.seteuid(0)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755)
    shutil.rmtree(folder)


def become_nobody():
    if os.getuid() == 0:
        os.seteuid(65534)


@pytest.mark.parametrize("what", ["lq/001.png", "lq"])
def test_files_without_permission_are_named(powerless, what):
    pairs(powerless)
    (powerless / what).chmod(0)
    become_nobody()
    with pytest.raises(DataError, match=rf"{what}.* cannot be read: Permission denied"):
        read_all(powerless)
    if what == "lq/001.png":
        report = check(Plan(gt=str(powerless / "gt"), lq=str(powerless / "lq")), workers=0)
        assert "001.png cannot be read: Permission denied" in report.lines()
    assert "cannot be read" in TABLE["no permission"]


def test_other_files_and_hidden_ones_are_not_read(tmp_path):
    folder = pairs(tmp_path)
    (folder / "lq" / "notes.txt").write_text("")
    (folder / "lq" / ".hidden.png").write_text("")
    (folder / "lq" / ".git").mkdir()
    (folder / "lq" / ".git" / "x.png").write_text("")
    assert len(read_all(folder)) == 3
    assert "files of other suffixes, hidden files" in TABLE


def test_the_page_has_twenty_kinds_and_each_is_tested():
    here = Path(__file__).read_text() + (REPOSITORY / "tests" / "test_packing.py").read_text()
    kinds = set(TABLE) - {"what", "---"}
    assert len(kinds) >= 20
    elsewhere = {
        "disk full while preparing",
        "an output that is there, or an input",
    }  # test_packing.py
    assert {kind for kind in kinds - elsewhere if f'"{kind}"' not in here} == set()
