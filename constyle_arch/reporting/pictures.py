"""Pictures for people to look at."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from constyle_arch.images import Image

Picture = NDArray[np.uint8]
"""(H, W, 3), BGR."""

PANEL = 640
"""Longest side of an image in a comparison, in pixels; larger ones are scaled down."""
CAPTION, GAP = 26, 6
ZOOMED = 4
"""A zoomed crop shows so much of an image's width: one part in four."""
SMALLEST_CROP = 16
FRAME = (0, 140, 255)
"""Orange."""


def comparison(
    images: Mapping[str, Image], panel: int = PANEL, interest: NDArray[np.float32] | None = None
) -> Picture:
    """Images of one size side by side, each below its label and above a magnified crop.

    The crop is from where `interest` is largest; a frame shows where.

    Args:
        images: label to image (H, W, 3), BGR, or (H, W), gray, 8 bits. A label may end in a score,
            `restored 24.31 dB`.
        panel: longest side of an image in the picture; larger ones are scaled down.
        interest: (H, W); left out, the detail of the image called `restored`, or else of the last
            one.

    Returns:
        The picture, on white. Images too small to be cropped are shown without.
    """
    images = {
        label: cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image  # type: ignore[misc]
        for label, image in images.items()
    }
    if interest is None:
        last = [*images.values()][-1]
        interest = _detail(
            next((image for label, image in images.items() if label.startswith("restored")), last)
        )
    crop = _crop_with_most(interest)
    columns = []
    for label, image in images.items():
        height, width = _scale(image, panel)
        shown = np.asarray(
            cv2.resize(np.asarray(image), (width, height), interpolation=cv2.INTER_AREA), np.uint8
        )
        parts = [
            _caption(label, width),
            shown if crop is None else _framed(shown, crop, width / image.shape[1]),
        ]
        if crop is not None:
            parts += [np.full((GAP, width, 3), 255, np.uint8), _magnified(image, crop, width)]
        columns.append(np.vstack(parts))
    gap = np.full((columns[0].shape[0], GAP, 3), 255, np.uint8)
    return np.hstack([part for column in columns for part in (gap, column)][1:])


def encoded(picture: Picture, suffix: str) -> bytes:
    """A picture as a file's content: `.jpg` or `.png`."""
    return bytes(cv2.imencode(suffix, picture)[1])


def stacked(pictures: Sequence[Picture]) -> Picture:
    """Put pictures of any size below each other, on white."""
    width = max(picture.shape[1] for picture in pictures)
    rows = [
        cv2.copyMakeBorder(
            picture, 0, GAP, 0, width - picture.shape[1], cv2.BORDER_CONSTANT, value=(255, 255, 255)
        )
        for picture in pictures
    ]
    return np.vstack(rows).astype(np.uint8)


def _scale(image: Image, panel: int) -> tuple[int, int]:
    """Height and width of an image scaled down to a panel."""
    height, width = image.shape[:2]
    scale = min(1.0, panel / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _detail(image: Image) -> NDArray[np.float32]:
    gray = cv2.cvtColor(np.asarray(image, np.uint8), cv2.COLOR_BGR2GRAY)
    return np.abs(np.asarray(cv2.Laplacian(gray, cv2.CV_32F), np.float32))


def _crop_with_most(interest: NDArray[np.float32]) -> tuple[slice, slice] | None:
    height, width = interest.shape
    crop_width = width // ZOOMED
    crop_height = min(height, 2 * crop_width // 3)
    if min(crop_width, crop_height) < SMALLEST_CROP:
        return None
    sums = cv2.boxFilter(
        interest, -1, (crop_width, crop_height), anchor=(0, 0), borderType=cv2.BORDER_CONSTANT
    )
    inside = sums[: height - crop_height + 1, : width - crop_width + 1]
    top, left = (int(place) for place in np.unravel_index(np.argmax(inside), inside.shape))
    return slice(top, top + crop_height), slice(left, left + crop_width)


def _framed(shown: Picture, crop: tuple[slice, slice], scale: float) -> Picture:
    """A scaled image with a frame around the crop, which is given in pixels of the image."""
    rows, columns = crop
    first = round(columns.start * scale), round(rows.start * scale)
    last = round((columns.stop - 1) * scale), round((rows.stop - 1) * scale)
    return np.asarray(cv2.rectangle(shown, first, last, FRAME, 2), np.uint8)


def _magnified(image: Image, crop: tuple[slice, slice], width: int) -> Picture:
    part = np.ascontiguousarray(image[crop], np.uint8)
    height = round(width * part.shape[0] / part.shape[1])
    return np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def _caption(label: str, width: int) -> Picture:
    """The label as wide as an image, in smaller letters where it would not fit."""
    caption = np.full((CAPTION, width, 3), 255, np.uint8)
    (length, _), _ = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)
    size = 0.5 * min(1.0, (width - 4) / max(length, 1))
    cv2.putText(
        caption, label, (2, CAPTION - 8), cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), 1, cv2.LINE_AA
    )
    return caption
