"""JPEG compression."""

from typing import Any

import cv2
import numpy as np
from numpy.random import RandomState

from constyle_arch.data.degradations.degradation import Degradation, Quantity
from constyle_arch.images import FloatImage, to_8_bit


class Jpeg(Degradation):
    """Compress by JPEG, colours at half the resolution, and decompress.

    A crop to train on gets the blocks that the whole image would have.

    Args:
        quality: from 1, worst, to 100.
    """

    margin = 16
    grid = 16

    def __init__(self, quality: Any = (30, 95)) -> None:
        self.quality = Quantity.parse(quality, "quality", lowest=1, highest=100)

    def __call__(self, image: FloatImage, rng: RandomState) -> FloatImage:
        """Compress an image (H, W, C), RGB or gray; values are rounded to 8 bits first."""
        quality = round(self.quality.draw(rng))
        pixels = np.asarray(to_8_bit(image))[..., ::-1]  # BGR, as OpenCV writes it
        pixels, how = np.ascontiguousarray(pixels), [cv2.IMWRITE_JPEG_QUALITY, quality]
        content = cv2.imencode(".jpg", pixels, how)[1]
        decoded = np.asarray(cv2.imdecode(content, cv2.IMREAD_UNCHANGED), np.float32)
        decoded = decoded.reshape(image.shape)
        return np.ascontiguousarray(decoded[..., ::-1]) / np.float32(255)
