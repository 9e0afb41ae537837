"""Files of all forms are found, read and written."""

import sys

import numpy as np
import pytest
from PIL import Image

from constyle_arch.errors import DataError, OptionsError
from constyle_arch.inference.photographs.finding import find_jobs
from constyle_arch.inference.photographs.photograph import read_photograph, readable
from tests.photographs import PROFILE, directly_restored, picture, restore_command, restore_files


def test_names_of_files_folders_and_patterns(tmp_path):
    for name in (
        "a.png",
        "tree/b.JPG",
        "tree/deep/c.v1.tif",
        "tree/deep/c.v1.jpg",
        "tree/.hidden.png",
        "tree/d.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def targets(*inputs, **options):
        jobs = find_jobs([str(tmp_path / one) for one in inputs], "out", **options)
        return sorted(job.target.as_posix() for job in jobs)

    assert targets("tree") == ["out/b.JPG", "out/deep/c.v1.jpg", "out/deep/c.v1.tif"]
    assert targets("a.png", "tree") == [
        "out/a.png",
        "out/b.JPG",
        "out/deep/c.v1.jpg",
        "out/deep/c.v1.tif",
    ]
    assert targets("tree/**/*.tif") == ["out/deep/c.v1.tif"]
    assert targets("*/b.*") == ["out/tree/b.JPG"]
    assert targets("tre?") == ["out/tree/b.JPG", "out/tree/deep/c.v1.jpg", "out/tree/deep/c.v1.tif"]
    assert targets("a.png", suffix="_x", extension=".jpg") == ["out/a_x.jpg"]
    [job] = find_jobs([str(tmp_path / "a.png")], "some/where.webp")
    assert job.target.as_posix() == "some/where.webp"
    with pytest.raises(
        DataError, match=r"c\.v1\.jpg and .*c\.v1\.tif would both become out/deep/c\.v1\.png"
    ):
        targets("tree", extension=".png")
    with pytest.raises(
        DataError, match="nowhere does not exist; name an image, a folder, or a pattern"
    ):
        targets("nowhere")
    with pytest.raises(
        DataError,
        match=r"d\.txt is no image by its name; wanted a file ending in .*\.bmp, .*\.jpeg",
    ):
        targets("tree/d.txt")
    with pytest.raises(DataError, match="no images are there; wanted are"):
        targets("tree/*.gif")
    with pytest.raises(DataError, match="is a file; name a folder"):
        find_jobs([str(tmp_path / "tree")], str(tmp_path / "a.png"))
    # one image, however it is named
    [job] = find_jobs([str(tmp_path / "a.*"), str(tmp_path / "a.png")], "one.png")
    assert job.target.as_posix() == "one.png"
    with pytest.raises(OptionsError, match="names the file to write; leave --suffix and --ext out"):
        find_jobs([str(tmp_path / "a.png")], "one.png", suffix="_x")
    with pytest.raises(DataError, match=r"tree/\*\*\.jpg is no pattern"):
        targets("tree/**.jpg")
    with pytest.raises(OptionsError, match="-i is empty"):
        find_jobs([""], "out")
    with pytest.raises(OptionsError, match="-o is empty"):
        find_jobs(["a.png"], "")


def test_name_of_a_file_does_not_become_a_folder(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    with pytest.raises(
        OptionsError, match=r"-o x\.gif: such files are not written; end the name in one of \.bmp,"
    ):
        find_jobs([str(tmp_path / "a.png")], "x.gif")
    with pytest.raises(
        OptionsError, match=r"-o x\.png is the name of one file, but there are 2 images"
    ):
        find_jobs([str(tmp_path)], "x.png")
    (tmp_path / "x.gif").mkdir()
    assert len(find_jobs([str(tmp_path)], str(tmp_path / "x.gif"))) == 2


@pytest.mark.parametrize("extension", ["jpg", "webp"])
def test_quality_decides_how_large_files_are(tmp_path, weights, extension):
    Image.fromarray(picture(100, 120)).save(tmp_path / "a.png")
    sizes = []
    for quality in ((), ("--quality", "95"), ("--quality", "30")):
        flags = ("--weights", weights, "--ext", extension, "--overwrite", *quality)
        assert restore_command("-i", tmp_path / "a.png", "-o", tmp_path / "out", *flags) == 0
        sizes.append((tmp_path / "out" / f"a.{extension}").stat().st_size)
    assert sizes[0] == sizes[1]
    assert sizes[2] < 0.7 * sizes[1]


def test_files_that_are_no_images_are_counted_by_suffix(tmp_path, weights, capsys):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    for name in ("b.CR2", "deep/c.cr2", "d.mp4", "README", ".hidden.mov", "out/e.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    flags = ("-o", tmp_path / "out", "--weights", weights)
    assert restore_command("-i", tmp_path, tmp_path / "*", *flags) == 0
    assert (
        "Not read, for their names: 2 .cr2, 1 without a suffix, 1 .mp4.\n"
        in capsys.readouterr().out
    )
    assert restore_command("-i", tmp_path / "deep", *flags) == 2
    assert "deep: no images are there, but 1 .cr2; wanted are " in capsys.readouterr().err


@pytest.fixture
def without_heif(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    readable.cache_clear()
    yield
    readable.cache_clear()


def test_without_the_extra_heic_is_named_with_what_it_needs(
    tmp_path, weights, capsys, without_heif
):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    (tmp_path / "b.HEIC").touch()
    flags = ("-o", tmp_path / "out", "--weights", weights)
    needs = 'needs pillow-heif: pip install "constyle-arch[heif]"'
    assert restore_command("-i", tmp_path, *flags) == 0
    assert f"Not read, for their names: 1 .heic ({needs}).\n" in capsys.readouterr().out
    assert restore_command("-i", tmp_path / "b.HEIC", *flags) == 2
    assert f"b.HEIC: to read .heic {needs}." in capsys.readouterr().err
    with pytest.raises(DataError, match=r"b\.HEIC cannot be read: \.heic needs pillow-heif"):
        read_photograph(tmp_path / "b.HEIC")


@pytest.mark.parametrize("suffix", [".heic", ".avif"])
def test_photographs_of_phones_are_read_and_written_as_png(tmp_path, weights, suffix):
    if suffix == ".heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    elif suffix not in readable():
        pytest.skip("this Pillow reads no AVIF")
    source, target = tmp_path / "photos" / f"a{suffix}", tmp_path / "out" / "a.png"
    source.parent.mkdir()
    facts = Image.Exif()
    facts[0x010F] = "a camera"
    Image.fromarray(picture()).save(source, quality=95, exif=facts.tobytes(), icc_profile=PROFILE)
    given = read_photograph(source)
    assert np.abs(given.pixels.astype(int) - picture()).mean() < 12
    assert given.profile == PROFILE
    assert restore_files(source.parent, target.parent, weights) == 0
    np.testing.assert_array_equal(
        read_photograph(target).pixels, directly_restored(given.pixels, weights)
    )
    assert Image.open(target).getexif()[0x010F] == "a camera"


def test_limit_of_pixels_is_raised_by_a_flag(tmp_path, weights, capsys):
    Image.fromarray(picture(50, 70)).save(tmp_path / "a.png")
    flags = (
        "-i",
        tmp_path / "a.png",
        "-o",
        tmp_path / "b.png",
        "--weights",
        weights,
        "--max-megapixels",
    )
    assert restore_command(*flags, "0.003") == 1
    assert (
        "is 70×50 pixels, and images of more than 0.003 million are not read"
        in capsys.readouterr().out
    )
    assert restore_command(*flags, "0.0035") == 0
