"""Pictures for people to look at."""

from collections.abc import Mapping

import cv2
import numpy as np

from constyle_arch.images import Image

CAPTION_HEIGHT = 24
GAP = 6


def side_by_side(images: Mapping[str, Image]) -> Image:
    """Put images of one size next to each other, each under its label.

    Args:
        images: label to image (H, W, 3), BGR.

    Returns:
        The picture (H + caption, about n·W, 3), BGR, on white.
    """
    columns = []
    for label, image in images.items():
        caption = np.full((CAPTION_HEIGHT, image.shape[1], 3), 255, np.uint8)
        cv2.putText(caption, label, (2, CAPTION_HEIGHT - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        columns += [np.vstack([caption, image]), np.full((CAPTION_HEIGHT + image.shape[0], GAP, 3), 255, np.uint8)]
    return np.hstack(columns[:-1])
