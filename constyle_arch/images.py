"""Images as arrays: their forms, and how a file's content becomes one."""

import io
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import cv2
import numpy as np
import PIL.Image
import tifffile
from numpy.typing import NDArray

from constyle_arch.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor  # slow to import

Image: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]
"""(H, W, 3), BGR, 8 or 16 bits a channel, as OpenCV reads and writes it."""

FloatImage: TypeAlias = NDArray[np.float32]
"""(H, W, C), or (H, W) for a map; values in [0, 1]."""

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm"}
"""Files whose names end so are taken for images."""

MAX_PIXELS = 200_000_000
"""An image of more is not decoded: cameras have 150 million at most, but a small file may claim
any."""

_pillows_limit = threading.Lock()


def decode(content: bytes | None, source: object) -> Image:
    """Decode a file's content to three channels at the depth it has.

    Gray, palette and CMYK images become colour images; alpha is left out; an EXIF orientation is
    applied. `source` is where the content was read, for the error.

    Raises:
        DataError: the content is no image, damaged, has more than `MAX_PIXELS`, or holds numbers
            other than 8- or 16-bit integers.
    """
    if content and (size := size_in_header(content)):
        check_size(size, source, MAX_PIXELS, "reduce it, or cut it into smaller ones")
    return _decode(content, source, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)


def decode_with_alpha(content: bytes, source: object) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Decode a file's content as it is: (H, W), gray, (H, W, 3), BGR, or (H, W, 4), with alpha.

    See `decode`; that the size is as wanted has been checked by the caller.
    """
    return _decode(content, source, cv2.IMREAD_UNCHANGED)


@contextmanager
def opened(content: bytes) -> Iterator[PIL.Image.Image]:
    """An image of any size as Pillow opens it: its header is read and nothing decoded.

    Raises:
        Exception: one of a dozen types, where the content is no image.
    """
    with _pillows_limit:  # Pillow's own limit is one for the process, and gives no size to tell
        limit, PIL.Image.MAX_IMAGE_PIXELS = PIL.Image.MAX_IMAGE_PIXELS, None
        try:
            image = PIL.Image.open(io.BytesIO(content))
        finally:
            PIL.Image.MAX_IMAGE_PIXELS = limit
    with image:
        yield image


def check_size(size: tuple[int, int], source: object, most: float, advice: str) -> None:
    """Refuse an image whose header claims a width and height of more than `most` pixels.

    Raises:
        DataError: it does; the message names `source` and gives `advice`.
    """
    width, height = size
    if width * height > most:
        raise DataError(
            f"{source} is {width}×{height} pixels, and images of more than {most / 1e6:g} million "
            f"are not read; {advice}."
        )


def size_in_header(content: bytes) -> tuple[int, int] | None:
    """Width and height in pixels; None where neither Pillow nor tifffile knows the header."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata
        try:
            with opened(content) as image:
                return image.size
        except Exception:  # Pillow raises a dozen types for damaged files
            pass
        try:
            with tifffile.TiffFile(io.BytesIO(content)) as file:
                page = file.pages.first
                return page.imagewidth, page.imagelength
        except Exception:  # no TIFF, or a damaged one
            return None


def _decode(content: bytes | None, source: object, flags: int) -> Image:
    image = None
    if content and not _is_cut_off(content):
        try:
            image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
        # beyond OpenCV's own limit, 2**30 pixels, where no other reader knows the header
        except cv2.error:
            image = None
    if image is None:
        raise DataError(
            f"{source} cannot be decoded as an image; it is damaged, or of a kind that OpenCV "
            "does not read."
        )
    if image.dtype not in (np.uint8, np.uint16):
        raise DataError(
            f"{source} holds {image.dtype} values of unknown range; save it with 8 or 16 bits a "
            "channel."
        )
    return image  # type: ignore[return-value]  # of one of the two types, as was checked


JPEG_START, JPEG_END, JPEG_SCAN = b"\xff\xd8", 0xD9, 0xDA
AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""The marker after a scan's data, in which 0xff is followed by 0 or a restart marker."""


def _is_cut_off(content: bytes) -> bool:
    """Whether a JPEG lacks its end: OpenCV would fill the rest with gray and only warn."""
    if not content.startswith(JPEG_START):
        return False
    position = len(JPEG_START)
    while position + 4 <= len(content):
        marker = content[position + 1]
        if marker == JPEG_END:
            return False
        position += 2 + int.from_bytes(content[position + 2 : position + 4])
        if marker == JPEG_SCAN:
            following = AFTER_SCAN.search(content, position)
            if following is None:
                return True
            position = following.start()
            if content[position + 1] == JPEG_END:
                return False
    return True


def to_float(image: Image) -> FloatImage:
    """Scale 8- or 16-bit values to [0, 1]."""
    return image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)


def in_unit_range(images: "Tensor") -> "Tensor":
    """Tensors of 8 bits, uint8, scaled to [0, 1]; others are so already."""
    return images if images.is_floating_point() else images.float() / 255


def to_gray(images: "Tensor") -> "Tensor":
    """Luma (N, 1, H, W) of RGB or gray images (N, 3 or 1, H, W), by ITU-R BT.601 as in OpenCV."""
    if images.shape[-3] == 1:
        return images
    red, green, blue = images.unbind(-3)
    return (0.299 * red + 0.587 * green + 0.114 * blue).unsqueeze(-3)


def quantized(image: FloatImage, dtype: np.dtype[Any]) -> Any:
    """Round values in [0, 1] to 8 or 16 bits, uint8 or uint16, clipping what lies outside."""
    most = np.iinfo(dtype).max
    return np.round(most * np.clip(image, 0, 1)).astype(dtype)


def to_8_bit(image: FloatImage) -> NDArray[np.uint8]:
    """Round values in [0, 1] to 8 bits, clipping what lies outside."""
    return quantized(image, np.dtype(np.uint8))


def size_of(image: NDArray[np.generic]) -> str:
    """`width×height`, as a message names it."""
    return f"{image.shape[1]}×{image.shape[0]}"
