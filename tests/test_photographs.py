"""Reading and writing photographs, checked with other libraries."""

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from constyle_arch.errors import DataError
from constyle_arch.inference.photographs.photograph import (
    FORMATS,
    Photograph,
    lost_in,
    read_photograph,
    write_photograph,
)
from tests.photographs import CAMERA, PROFILE, broken_files, exif, picture, png_claiming

LOSSLESS = {"png", "tif", "bmp"}


def holding(photograph, path):
    """What a file gives back that `photograph` was written to."""
    write_photograph(photograph, path)
    return read_photograph(path)


@pytest.mark.parametrize("suffix", sorted(FORMATS))
@pytest.mark.parametrize("gray", [False, True])
def test_eight_bits_come_back_as_another_library_reads_them(tmp_path, suffix, gray):
    pixels = picture()[..., 0] if gray else picture()
    path = tmp_path / f"a{suffix}"
    back = holding(Photograph(pixels), path)
    other = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE if gray else cv2.IMREAD_COLOR_RGB)
    if suffix == ".webp" and gray:  # WebP has no gray
        pixels, other = np.dstack([pixels] * 3), np.dstack([other] * 3)
    lossless = suffix[1:4] in LOSSLESS
    assert back.pixels.shape == pixels.shape
    # decoders round differently
    assert np.abs(back.pixels.astype(int) - other).max() <= (0 if lossless else 8)
    assert np.abs(back.pixels.astype(int) - pixels).mean() <= (0 if lossless else 2)
    assert back.alpha is None


def test_size_is_limited_before_anything_is_decoded(tmp_path):
    limit = Image.MAX_IMAGE_PIXELS
    (tmp_path / "bomb.png").write_bytes(png_claiming(60_000, 60_000))
    with pytest.raises(
        DataError, match=r"bomb\.png is 60000×60000 pixels, and images of more than 200 million"
    ):
        read_photograph(tmp_path / "bomb.png")
    # tried, as it has but few bytes
    with pytest.raises(DataError, match=r"bomb\.png cannot be read"):
        read_photograph(tmp_path / "bomb.png", max_pixels=4e9)
    write_photograph(Photograph(picture()), tmp_path / "a.png")
    for path in tmp_path.iterdir():
        with pytest.raises(
            DataError,
            match=r"more than 0\.001 million are not read; --max-megapixels raises the limit",
        ):
            read_photograph(path, max_pixels=1000)
    assert limit is not None  # of Pillow, which programs that import this package rely on
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("gray", [False, True])
def test_sixteen_bits_come_back_as_another_library_reads_them(tmp_path, suffix, gray):
    pixels = picture(bits=16)[..., 0] if gray else picture(bits=16)
    path = tmp_path / f"a{suffix}"
    back = holding(Photograph(pixels), path)
    assert back.pixels.dtype == np.uint16
    assert np.array_equal(back.pixels, pixels)
    if suffix == ".tif":
        assert np.array_equal(tifffile.imread(path), pixels)
    other = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(other if gray else other[..., ::-1], pixels)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("gray", [False, True])
def test_alpha_is_kept(tmp_path, suffix, bits, gray):
    if bits == 16 and suffix == ".webp":
        pytest.skip("WebP has 8 bits")
    four = picture(channels=4, bits=bits)
    pixels, alpha = (four[..., 0] if gray else four[..., :3]), four[..., 3]
    back = holding(Photograph(pixels, alpha), tmp_path / f"a{suffix}")
    if suffix == ".webp":
        assert np.abs(back.alpha.astype(int) - alpha).max() <= 1
    else:
        assert np.array_equal(back.alpha, alpha)
        assert np.array_equal(
            back.pixels if back.pixels.ndim == pixels.ndim else back.pixels[..., 0], pixels
        )


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_upright_and_keep_what_the_camera_noted(tmp_path, kind, orientation):
    path = tmp_path / f"a.{kind}"
    Image.fromarray(picture()).save(path, kind, exif=exif(orientation), icc_profile=PROFILE)
    with Image.open(path) as image:
        upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    photograph = read_photograph(path)
    assert np.array_equal(photograph.pixels, upright)
    assert photograph.profile == PROFILE
    write_photograph(photograph, path)
    with Image.open(path) as image:
        assert image.info["icc_profile"] == PROFILE
        assert image.getexif().get(0x0112, 1) == 1
        if kind != "tiff":
            assert image.getexif()[CAMERA] == "Some Camera"
        assert image.size == (upright.shape[1], upright.shape[0])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_sixteen_bits_are_turned_upright_with_their_profile(tmp_path, orientation):
    deep = picture(bits=16)
    data = [np.frombuffer(exif(orientation).tobytes(), np.uint8), np.frombuffer(PROFILE, np.uint8)]
    kinds = [cv2.IMAGE_METADATA_EXIF, cv2.IMAGE_METADATA_ICCP]
    cv2.imwriteWithMetadata(str(tmp_path / "a.png"), deep[..., ::-1].copy(), kinds, data)
    eight = Image.fromarray((deep >> 8).astype(np.uint8))
    eight.getexif().update(exif(orientation))
    upright = np.asarray(ImageOps.exif_transpose(eight))
    assert not np.array_equal(upright, np.asarray(eight)) or orientation == 1
    photograph = read_photograph(tmp_path / "a.png")
    assert np.array_equal(photograph.pixels >> 8, upright)
    assert photograph.profile == PROFILE
    back = holding(photograph, tmp_path / "b.png")
    assert (back.profile, back.exif) == (PROFILE, photograph.exif)
    assert np.array_equal(back.pixels, photograph.pixels)
    assert holding(photograph, tmp_path / "b.tif").profile == PROFILE


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate", None])
def test_tiffs_of_other_programs_are_read(tmp_path, compression):
    Image.fromarray(picture(channels=4), "RGBA").save(tmp_path / "a.tif", compression=compression)
    photograph = read_photograph(tmp_path / "a.tif")
    assert np.array_equal(np.dstack([photograph.pixels, photograph.alpha]), picture(channels=4))


@pytest.mark.parametrize("mode", ["1", "P", "LA", "CMYK"])
def test_odd_modes_are_read_as_pillow_converts_them(tmp_path, mode):
    image = Image.fromarray(picture()).convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    photograph = read_photograph(path)
    wanted = np.asarray(image.convert("L" if mode in ("1", "LA") else "RGB"))
    assert np.array_equal(photograph.pixels, wanted)
    assert (photograph.alpha is not None) == (mode == "LA")


def test_palette_with_a_transparent_colour_keeps_it(tmp_path):
    image = Image.new("P", (8, 6), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    image.putpixel((2, 3), 0)
    image.save(tmp_path / "a.png", transparency=0)
    alpha = read_photograph(tmp_path / "a.png").alpha
    assert alpha[3, 2] == 0
    assert alpha.sum() == 255 * (8 * 6 - 1)


def test_phones_files_of_several_pictures_give_the_first(tmp_path):
    first = Image.fromarray(picture())
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[first.rotate(180)])
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.format == "MPO"
        assert np.array_equal(read_photograph(tmp_path / "a.jpg").pixels, np.asarray(image))


@pytest.mark.parametrize("name", broken_files())
def test_what_is_no_photograph_is_named(tmp_path, name):
    content, message = broken_files()[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name} .*{message}|{name} {message}"):
        read_photograph(tmp_path / name)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no\.png cannot be read: No such file"):
        read_photograph(tmp_path / "no.png")


def test_what_a_format_cannot_hold_is_told_and_left_out(tmp_path):
    four = picture(channels=4, bits=16)
    photograph = Photograph(four[..., :3], four[..., 3], PROFILE, exif(1).tobytes())
    assert lost_in(photograph, ".jpg") == ["alpha", "16 bits"]
    assert lost_in(photograph, ".bmp") == ["alpha", "16 bits", "the colour profile", "EXIF data"]
    assert lost_in(photograph, ".png") == []
    back = holding(photograph, tmp_path / "a.bmp")
    assert np.array_equal(back.pixels, np.round(four[..., :3] / 257).astype(np.uint8))
    assert back.alpha is None


def test_gray_stays_gray_and_depth_stays(tmp_path):
    tinted = np.linspace(0, 1, 37 * 52 * 3, dtype=np.float32).reshape(37, 52, 3)
    gray = Photograph(picture(bits=16)[..., 0]).with_colors(tinted)
    assert gray.pixels.dtype == np.uint16
    assert np.array_equal(gray.pixels, np.round(tinted.mean(axis=2) * 65535).astype(np.uint16))
    stacked = Photograph(np.repeat(picture()[..., :1], 3, axis=2)).with_colors(tinted)
    assert (stacked.pixels == stacked.pixels[..., :1]).all()
    coloured = Photograph(picture()).with_colors(tinted)
    assert np.array_equal(coloured.pixels, np.round(tinted * 255).astype(np.uint8))


def test_sixteen_bit_tiff_of_white_zero_is_read_as_it_looks(tmp_path):
    gray = picture(bits=16)[..., 0]
    tifffile.imwrite(tmp_path / "a.tif", 65535 - gray, photometric="miniswhite")
    assert np.array_equal(read_photograph(tmp_path / "a.tif").pixels, gray)


@pytest.mark.parametrize(
    "options",
    [
        {
            "data": picture(bits=16).transpose(2, 0, 1),
            "photometric": "rgb",
            "planarconfig": "separate",
        },
        {
            "data": picture(channels=4, bits=16),
            "photometric": "rgb",
            "extrasamples": ["assocalpha"],
        },
        {
            "data": picture(channels=4, bits=16)[..., :2],
            "photometric": "minisblack",
            "extrasamples": ["unassalpha"],
        },
        {"data": picture().astype(np.float32), "photometric": "rgb"},
    ],
)
def test_tiffs_of_unusual_kinds_are_refused_as_such(tmp_path, options):
    tifffile.imwrite(tmp_path / "a.tif", **options)
    with pytest.raises(
        DataError, match=r"a\.tif cannot be read: it is a TIFF of an unusual kind; save it"
    ):
        read_photograph(tmp_path / "a.tif")


def test_exif_of_a_sixteen_bit_png_begins_as_pngs_do(tmp_path):
    write_photograph(Photograph(picture(bits=16), exif=exif(1).tobytes()), tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    assert content[content.index(b"eXIf") + 4 :][:2] in (b"MM", b"II")
    with Image.open(tmp_path / "a.png") as image:
        assert image.getexif()[CAMERA] == "Some Camera"


def test_damaged_exif_is_left_out_and_told(tmp_path, monkeypatch):
    Image.fromarray(picture()).save(tmp_path / "a.jpg", exif=exif(1))

    def fails(*_):
        raise TypeError("'IFDRational' object has no attribute 'encode'")

    monkeypatch.setattr(Image.Exif, "tobytes", fails)
    photograph = read_photograph(tmp_path / "a.jpg")
    assert photograph.exif is None
    assert photograph.left_out == ("its EXIF data, which are damaged",)


def test_exif_too_long_for_a_jpeg_is_left_out(tmp_path):
    photograph = Photograph(picture(), exif=bytes(80_000))
    assert lost_in(photograph, ".jpg") == ["EXIF data"]
    assert holding(photograph, tmp_path / "a.jpg").exif is None


@pytest.mark.parametrize(("suffix", "bits", "alpha"), [(".webp", 8, False), (".png", 16, True)])
def test_profile_of_gray_values_does_not_go_with_colours(tmp_path, suffix, bits, alpha):
    profile = PROFILE[:16] + b"GRAY" + PROFILE[20:]
    channels = picture(channels=4, bits=bits)
    photograph = Photograph(channels[..., 0], channels[..., 3] if alpha else None, profile)
    assert lost_in(photograph, suffix) == ["the colour profile"]
    assert lost_in(photograph, ".jpg")[-1:] != ["the colour profile"]
    assert holding(photograph, tmp_path / f"a{suffix}").profile is None


def test_large_photographs_are_read(tmp_path):
    Image.new("L", (14000, 13000)).save(tmp_path / "a.png", compress_level=1)
    assert read_photograph(tmp_path / "a.png").pixels.shape == (13000, 14000)
