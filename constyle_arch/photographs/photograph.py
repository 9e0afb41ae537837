"""Photographs as files: pixels at their depth, upright, with alpha, colour profile and what the camera noted."""

import io
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageOps

from constyle_arch.atomic import save_bytes_atomically
from constyle_arch.errors import DataError
from constyle_arch.images import FloatImage, decode_with_alpha, quantized, to_float

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

HOLDING_ALPHA = {"PNG", "TIFF", "WEBP"}
HOLDING_16_BITS = {"PNG", "TIFF"}
HOLDING_PROFILES = {"PNG", "TIFF", "WEBP", "JPEG"}
HOLDING_EXIF = {"PNG", "WEBP", "JPEG"}

ENCODING: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": "4:4:4"},
    "WEBP": {"quality": 95},
    "TIFF": {"compression": "tiff_adobe_deflate"},
}
"""How files of 8 bits are encoded: with next to no loss, but not beyond need."""

ORIENTATION, BITS_PER_SAMPLE = 0x0112, 0x0102
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
    """

    pixels: Pixels
    alpha: Pixels | None = None
    profile: bytes | None = None
    exif: bytes | None = None

    @property
    def colors(self) -> FloatImage:
        """The pixels for a network: (H, W, 3), RGB in [0, 1]."""
        pixels = to_float(self.pixels)
        return np.stack([pixels] * 3, axis=2) if pixels.ndim == 2 else pixels

    def with_colors(self, colors: FloatImage) -> "Photograph":
        """This photograph with other pixels (H, W, 3), RGB in [0, 1], in its own depth. What is gray stays gray."""
        channels = self.pixels.reshape(*self.pixels.shape[:2], -1)
        if (channels == channels[..., :1]).all():
            colors = np.broadcast_to(colors.mean(axis=2, keepdims=True), colors.shape)
        pixels = quantized(colors, self.pixels.dtype)
        return replace(self, pixels=pixels[..., 0] if self.pixels.ndim == 2 else pixels)


def read_photograph(path: Path) -> Photograph:
    """Read a file of any of `FORMATS`.

    Of a JPEG with several pictures, as phones write them, the first is taken. CMYK becomes RGB, without its profile.

    Raises:
        DataError: the file cannot be read, is no image, is damaged, holds several pictures, or numbers other than 8-
            or 16-bit integers.
    """
    try:
        content = path.read_bytes()
        with warnings.catch_warnings(), Image.open(io.BytesIO(content)) as image:
            warnings.simplefilter("ignore")  # of odd metadata, and of large images, which are welcome
            pictures = getattr(image, "n_frames", 1)
            if pictures > 1 and image.format != "MPO":
                raise DataError(f"{path} holds {pictures} pictures; save the one to restore as a file of its own.")
            read = _deep(content, path, image) if _bits(image, content) > 8 else _shallow(image)
            return replace(read, exif=_exif(image))
    except DataError:
        raise
    except Exception as error:  # Pillow raises a dozen types for damaged files
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        reason = "it is no image" if "cannot identify" in reason else reason
        raise DataError(f"{path} cannot be read: {reason or type(error).__name__}.") from error


def _exif(image: Image.Image) -> bytes | None:
    exif = image.getexif()
    exif.pop(ORIENTATION, None)
    return exif.tobytes() if len(exif) and image.format != "TIFF" else None


def _bits(image: Image.Image, content: bytes) -> int:
    """The depth of a channel; what Pillow hands out has 8 bits."""
    if image.format == "PNG":
        return content[PNG_BIT_DEPTH]
    if image.format == "TIFF":
        return int(max(image.tag_v2.get(BITS_PER_SAMPLE, (1,))))  # type: ignore[attr-defined]  # a TIFF has tags
    return 16 if image.mode.startswith("I") else 8


def _deep(content: bytes, path: Path, image: Image.Image) -> Photograph:
    """Of 16 bits, which OpenCV reads. It turns a TIFF upright, but not a PNG."""
    pixels, profile = decode_with_alpha(content, path), image.info.get("icc_profile")
    if image.format == "PNG":
        pixels = _upright(pixels, image.getexif().get(ORIENTATION, 1))
    if pixels.ndim == 2:
        return Photograph(pixels, None, profile)
    alpha = np.ascontiguousarray(pixels[..., 3]) if pixels.shape[2] == 4 else None
    return Photograph(np.ascontiguousarray(pixels[..., 2::-1]), alpha, profile)


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undo an EXIF orientation from 1 to 8 (EXIF 2.3, section 4.6.4: where row 0 and column 0 are seen)."""
    if orientation in (2, 4, 5, 7):
        pixels = pixels[:, ::-1]
    turns = {3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}.get(orientation, 0)
    return np.rot90(pixels, turns)


def _shallow(image: Image.Image) -> Photograph:
    image = ImageOps.exif_transpose(image)
    transparent = image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info
    gray = image.mode in ("1", "L", "LA")
    profile = None if image.mode == "CMYK" else image.info.get("icc_profile")
    alpha = np.asarray(image.convert("RGBA"))[..., 3] if transparent else None
    pixels = np.asarray(image.convert("L" if gray else "RGB"))
    return Photograph(pixels, alpha, profile)


def lost_in(photograph: Photograph, suffix: str) -> list[str]:
    """What a file with this suffix cannot hold of a photograph, in words."""
    kind = FORMATS[suffix.lower()]
    holds = {
        "alpha": photograph.alpha is None or kind in HOLDING_ALPHA,
        "16 bits": photograph.pixels.dtype == np.uint8 or kind in HOLDING_16_BITS,
        "the colour profile": photograph.profile is None or kind in HOLDING_PROFILES,
        "EXIF data": photograph.exif is None or kind in HOLDING_EXIF,
    }
    return [what for what, held in holds.items() if not held]


def write_photograph(photograph: Photograph, path: Path) -> None:
    """Write a photograph in the format of the path's suffix, whole or not at all; see `lost_in`.

    Raises:
        RunError: the file cannot be written.
        DataError: the format cannot hold an image of this size.
    """
    kind = FORMATS[path.suffix.lower()]
    if photograph.pixels.dtype != np.uint8 and kind not in HOLDING_16_BITS:
        pixels = quantized(to_float(photograph.pixels), np.dtype(np.uint8))
        alpha = None if photograph.alpha is None else quantized(to_float(photograph.alpha), np.dtype(np.uint8))
        photograph = replace(photograph, pixels=pixels, alpha=alpha)
    if kind not in HOLDING_ALPHA:
        photograph = replace(photograph, alpha=None)
    encode = _encode_8_bits if photograph.pixels.dtype == np.uint8 else _encode_16_bits
    try:
        content = encode(photograph, kind)
    except (OSError, ValueError, cv2.error) as error:
        height, width = photograph.pixels.shape[:2]
        raise DataError(f"{path}: {kind} cannot hold this image of {width}×{height} pixels: {error}") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    save_bytes_atomically(content, path)


def _encode_8_bits(photograph: Photograph, kind: str) -> bytes:
    image = Image.fromarray(photograph.pixels)
    if photograph.alpha is not None:
        image.putalpha(Image.fromarray(photograph.alpha))
    options = dict(ENCODING.get(kind, {}))
    if photograph.profile is not None and kind in HOLDING_PROFILES:
        options["icc_profile"] = photograph.profile
    if photograph.exif is not None and kind in HOLDING_EXIF:
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
    metadata = {cv2.IMAGE_METADATA_ICCP: photograph.profile, cv2.IMAGE_METADATA_EXIF: photograph.exif}
    present = {key: np.frombuffer(data, np.uint8) for key, data in metadata.items() if data}
    _, encoded = cv2.imencodeWithMetadata(".png", pixels, list(present), list(present.values()))
    return bytes(encoded)
