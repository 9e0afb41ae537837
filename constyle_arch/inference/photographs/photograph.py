"""Photographs as files: pixels at full depth, upright, with alpha, profile and EXIF."""

import io
import warnings
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageOps, features

from constyle_arch.errors import DataError
from constyle_arch.files import save_bytes_atomically
from constyle_arch.images import (
    MAX_PIXELS,
    FloatImage,
    check_size,
    decode_with_alpha,
    opened,
    quantized,
    to_8_bit,
    to_float,
)

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
"""The format that a file's suffix stands for."""

NEEDED_BY = {
    **dict.fromkeys((".heic", ".heif"), 'pillow-heif: pip install "constyle-arch[heif]"'),
    ".avif": "Pillow 11.3 or newer, built with AVIF",
}
"""What is read, but not written, and what it needs."""

HOLDING_ALPHA = {"PNG", "TIFF", "WEBP"}
HOLDING_16_BITS = {"PNG", "TIFF"}
HOLDING_PROFILES = {"PNG", "TIFF", "WEBP", "JPEG"}
HOLDING_EXIF = {"PNG", "WEBP", "JPEG"}

QUALITY = 95
"""With next to no loss, but not beyond need."""
HAVING_QUALITY = {"JPEG", "WEBP"}

ENCODING: dict[str, dict[str, Any]] = {
    "JPEG": {"subsampling": "4:4:4"},
    "TIFF": {"compression": "tiff_adobe_deflate"},
}
"""How files of 8 bits are encoded."""

ORIENTATION, BITS_PER_SAMPLE = 0x0112, 0x0102
EXIF_OF_JPEG = b"Exif\0\0"
LONGEST_SEGMENT = 65533
"""Bytes of a JPEG's segment."""
PROFILE_SPACE = slice(16, 20)
"""Where in an ICC profile stands what its values are."""
CONTIGUOUS, WHITE_IS_ZERO, ASSOCIATED_ALPHA = 1, 0, 1
"""Values of a TIFF's PlanarConfiguration, PhotometricInterpretation and ExtraSamples."""
UNKNOWN_TIFF = (
    "it is a TIFF of an unusual kind; save it gray or RGB with 8 or 16 bits a channel, not in "
    "planes"
)
PNG_BIT_DEPTH = 24
"""Where in a PNG file its bit depth stands."""

Pixels: TypeAlias = NDArray[Any]
"""Of 8 or 16 bits a channel, uint8 or uint16."""


@dataclass(frozen=True)
class Photograph:
    """A photograph, upright.

    Args:
        pixels: (H, W, 3), RGB, or (H, W), gray; 8 or 16 bits.
        alpha: (H, W) of the same depth, or None.
        profile: ICC colour profile of the pixels, or None.
        exif: EXIF data without orientation, or None.
        left_out: what of the file is not here, in words.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    profile: bytes | None = None
    exif: bytes | None = None
    left_out: tuple[str, ...] = ()

    @property
    def colors(self) -> FloatImage:
        """The pixels for a network: (H, W, 3), RGB in [0, 1]."""
        pixels = to_float(self.pixels)
        return np.stack([pixels] * 3, axis=2) if pixels.ndim == 2 else pixels

    @property
    def picture(self) -> NDArray[np.uint8]:
        """The colours as people see them: (H, W, 3), BGR, 8 bits."""
        return np.ascontiguousarray(to_8_bit(self.colors)[..., ::-1])

    @property
    def is_gray(self) -> bool:
        """Whether it has no colours, in one channel or in three."""
        channels = self.pixels.reshape(*self.pixels.shape[:2], -1)
        return bool((channels == channels[..., :1]).all())

    def with_colors(self, colors: FloatImage) -> "Photograph":
        """This photograph with other pixels (H, W, 3), RGB in [0, 1]; gray stays gray."""
        if self.is_gray:
            colors = np.broadcast_to(colors.mean(axis=2, keepdims=True), colors.shape)
        pixels = quantized(colors, self.pixels.dtype)
        return replace(self, pixels=pixels[..., 0] if self.pixels.ndim == 2 else pixels)


@cache
def readable() -> frozenset[str]:
    """The suffixes of files that can be read here; Pillow learns to read them."""
    with_plugins = {".avif"} if "avif" in features.get_supported() else set()
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        pass
    else:
        register_heif_opener()
        with_plugins |= {".heic", ".heif"}
    return frozenset(FORMATS.keys() | with_plugins)


def read_photograph(path: Path, max_pixels: float = MAX_PIXELS) -> Photograph:
    """Read a file of any kind that is `readable`.

    Of a JPEG or HEIC file with several pictures, as phones write them, the main one is taken. CMYK
    becomes RGB, without its profile; of more than 8 bits in HEIC and AVIF, 8 are taken.

    Args:
        path: the file.
        max_pixels: an image of more pixels is refused by its header, before anything is decoded.

    Raises:
        DataError: the file cannot be read, is no image, is damaged, too large, holds several
            pictures, or numbers other than 8- or 16-bit integers.
    """
    suffix = path.suffix.lower()
    if suffix in NEEDED_BY and suffix not in readable():
        raise DataError(f"{path} cannot be read: {suffix} needs {NEEDED_BY[suffix]}.")
    try:
        content = path.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata
            with opened(content) as image:
                check_size(image.size, path, max_pixels, "--max-megapixels raises the limit")
                pictures = getattr(image, "n_frames", 1)
                if pictures > 1 and image.format not in ("MPO", "HEIF"):
                    raise DataError(
                        f"{path} holds {pictures} pictures; save the one to restore as a file of "
                        "its own."
                    )
                read = _deep(content, path, image) if _bits(image, content) > 8 else _shallow(image)
                return _with_exif(read, image)
    except DataError:
        raise
    except Exception as error:  # Pillow raises a dozen types for damaged files
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        if "cannot identify" in reason:
            reason = UNKNOWN_TIFF if content.startswith((b"II", b"MM")) else "it is no image"
        raise DataError(f"{path} cannot be read: {reason or type(error).__name__}.") from error


def _with_exif(photograph: Photograph, image: Image.Image) -> Photograph:
    """The photograph with the EXIF data of its file, where they can be written again."""
    if image.format == "TIFF":  # whose tags Pillow takes for EXIF data
        return photograph
    try:
        exif = image.getexif()
        exif.pop(ORIENTATION, None)
        return replace(photograph, exif=exif.tobytes() if len(exif) else None)
    except Exception:  # a dozen types, by the tag that is damaged
        damaged = "its EXIF data, which are damaged"
        return replace(photograph, left_out=(*photograph.left_out, damaged))


def _bits(image: Image.Image, content: bytes) -> int:
    """The depth of a channel; what Pillow hands out has 8 bits."""
    if image.format == "PNG":
        return content[PNG_BIT_DEPTH]
    if image.format == "TIFF":
        # a TIFF has tags
        return int(max(image.tag_v2.get(BITS_PER_SAMPLE, (1,))))  # type: ignore[attr-defined]
    return 16 if image.mode.startswith("I") else 8


def _deep(content: bytes, path: Path, image: Image.Image) -> Photograph:
    """Of 16 bits, which OpenCV reads. It turns a TIFF upright, but not a PNG."""
    profile, inverted = image.info.get("icc_profile"), False
    if image.format == "TIFF":
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            page = file.pages.first
            if page.planarconfig != CONTIGUOUS or ASSOCIATED_ALPHA in page.extrasamples:
                raise DataError(f"{path} cannot be read: {UNKNOWN_TIFF}.")
            inverted = page.photometric == WHITE_IS_ZERO
    pixels = decode_with_alpha(content, path)
    if inverted:
        pixels = np.iinfo(pixels.dtype).max - pixels
    if image.format == "PNG":
        pixels = _upright(pixels, image.getexif().get(ORIENTATION, 1))
    if pixels.ndim == 2:
        return Photograph(pixels, None, profile)
    alpha = np.ascontiguousarray(pixels[..., 3]) if pixels.shape[2] == 4 else None
    return Photograph(np.ascontiguousarray(pixels[..., 2::-1]), alpha, profile)


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undo an EXIF orientation from 1 to 8 (EXIF 2.3, section 4.6.4)."""
    if orientation in (2, 4, 5, 7):
        pixels = pixels[:, ::-1]
    turns = {3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}.get(orientation, 0)
    return np.rot90(pixels, turns)


def _shallow(image: Image.Image) -> Photograph:
    image = ImageOps.exif_transpose(image)
    transparent = image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info
    gray = image.mode in ("1", "L", "LA")
    profile = image.info.get("icc_profile")
    left_out: tuple[str, ...] = ()
    if image.mode == "CMYK" and profile:
        profile, left_out = None, ("the profile of its CMYK values, which became RGB",)
    if (bits := image.info.get("bit_depth", 8)) > 8:
        left_out += (f"{bits - 8} of its {bits} bits a channel",)
    alpha = np.asarray(image.convert("RGBA"))[..., 3] if transparent else None
    pixels = np.asarray(image.convert("L" if gray else "RGB"))
    return Photograph(pixels, alpha, profile, left_out=left_out)


def lost_in(photograph: Photograph, suffix: str) -> list[str]:
    """What a file with this suffix cannot hold of a photograph, in words."""
    kind = FORMATS[suffix.lower()]
    holds = {
        "alpha": photograph.alpha is None or kind in HOLDING_ALPHA,
        "16 bits": photograph.pixels.dtype == np.uint8 or kind in HOLDING_16_BITS,
        "the colour profile": photograph.profile is None or _holds_profile(photograph, kind),
        "EXIF data": photograph.exif is None or _holds_exif(photograph, kind),
    }
    return [what for what, held in holds.items() if not held]


def _holds_profile(photograph: Photograph, kind: str) -> bool:
    """Whether a file can hold the profile; one for gray does not fit colours."""
    deep = photograph.pixels.dtype != np.uint8 and kind in HOLDING_16_BITS
    becomes_color = (
        photograph.pixels.ndim == 3 or kind == "WEBP" or (deep and photograph.alpha is not None)
    )
    of_gray = photograph.profile is not None and photograph.profile[PROFILE_SPACE] == b"GRAY"
    return kind in HOLDING_PROFILES and not (of_gray and becomes_color)


def _holds_exif(photograph: Photograph, kind: str) -> bool:
    too_long = kind == "JPEG" and len(photograph.exif or b"") > LONGEST_SEGMENT
    return kind in HOLDING_EXIF and not too_long


def write_photograph(photograph: Photograph, path: Path, quality: int = QUALITY) -> None:
    """Write a photograph in the format of the path's suffix, whole or not at all; see `lost_in`.

    Args:
        photograph: what to write.
        path: the file.
        quality: of JPEG and WebP, from 1 to 100.

    Raises:
        RunError: the file cannot be written.
        DataError: the format cannot hold an image of this size.
    """
    kind = FORMATS[path.suffix.lower()]
    alpha = photograph.alpha if kind in HOLDING_ALPHA else None
    profile = photograph.profile if _holds_profile(photograph, kind) else None
    exif = photograph.exif if _holds_exif(photograph, kind) else None
    photograph = replace(photograph, alpha=alpha, profile=profile, exif=exif)
    if photograph.pixels.dtype != np.uint8 and kind not in HOLDING_16_BITS:
        pixels = to_8_bit(to_float(photograph.pixels))
        alpha = None if alpha is None else to_8_bit(to_float(alpha))
        photograph = replace(photograph, pixels=pixels, alpha=alpha)
    try:
        if photograph.pixels.dtype == np.uint8:
            content = _encode_8_bits(photograph, kind, quality)
        else:
            content = _encode_16_bits(photograph, kind)
    except (OSError, ValueError, cv2.error) as error:
        height, width = photograph.pixels.shape[:2]
        raise DataError(
            f"{path}: {kind} cannot hold this image of {width}×{height} pixels: {error}"
        ) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    save_bytes_atomically(content, path)


def _encode_8_bits(photograph: Photograph, kind: str, quality: int) -> bytes:
    image = Image.fromarray(photograph.pixels)
    if photograph.alpha is not None:
        image.putalpha(Image.fromarray(photograph.alpha))
    options = dict(ENCODING.get(kind, {}))
    if kind in HAVING_QUALITY:
        options["quality"] = quality
    if photograph.profile is not None:
        options["icc_profile"] = photograph.profile
    if photograph.exif is not None:
        options["exif"] = photograph.exif
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _encode_16_bits(photograph: Photograph, kind: str) -> bytes:
    pixels, alpha = photograph.pixels, photograph.alpha
    if alpha is not None:  # gray and alpha are two channels, which hardly any program reads
        pixels = np.dstack([pixels] * 3 if pixels.ndim == 2 else [pixels])
        pixels = np.dstack([pixels, alpha])
    if kind == "TIFF":
        file = io.BytesIO()
        tifffile.imwrite(
            file,
            pixels,
            photometric="minisblack" if pixels.ndim == 2 else "rgb",
            extrasamples=None if alpha is None else ["unassalpha"],
            compression="zlib",
            iccprofile=photograph.profile,
            metadata=None,
        )
        return file.getvalue()
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR if alpha is None else cv2.COLOR_RGBA2BGRA)
    exif = (photograph.exif or b"").removeprefix(EXIF_OF_JPEG)  # a PNG's begins without it
    metadata = {cv2.IMAGE_METADATA_ICCP: photograph.profile, cv2.IMAGE_METADATA_EXIF: exif}
    present = {key: np.frombuffer(data, np.uint8) for key, data in metadata.items() if data}
    _, encoded = cv2.imencodeWithMetadata(".png", pixels, list(present), list(present.values()))
    return bytes(encoded)
