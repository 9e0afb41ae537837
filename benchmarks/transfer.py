"""Draws docs/assets/transfer.jpg: noise, rain and haze, each taken from one photograph and given to
another.

  python -m benchmarks.transfer

The photographs are scikit-image's, the degradations those of the sample data sets.
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.random import RandomState
from skimage import data

from constyle_arch import load_network, restore
from constyle_arch.data.degradations import Noise
from constyle_arch.data.degradations.haze import Haze
from constyle_arch.data.preparation.sample import RAIN
from constyle_arch.images import FloatImage, Image, to_8_bit, to_float
from constyle_arch.inference.transfer import transferred
from constyle_arch.reporting.pictures import comparison, encoded, stacked

PICTURE = Path(__file__).parents[1] / "docs" / "assets" / "transfer.jpg"
HEIGHT, WIDTH = 256, 384
DEGRADATIONS = {
    "denoise": Noise(sigma=35, clip=True),
    "derain": RAIN,
    "dehaze": Haze(beta=1.5, airlight=0.9),
}


def main() -> None:
    """The command."""
    cat, coffee = _reduced(data.chelsea()), _reduced(data.coffee())
    rows = []
    for name, degradation in DEGRADATIONS.items():
        degraded = degradation(cat, RandomState(0))
        restored = restore(load_network(name), degraded)
        images = {
            "degraded": degraded,
            f"restored by {name}": restored,
            "clean": coffee,
            "degraded alike": transferred(coffee, degraded, restored, RandomState(0)),
        }
        shown = {
            label: cv2.cvtColor(to_8_bit(image), cv2.COLOR_RGB2BGR)
            for label, image in images.items()
        }
        rows.append(comparison(shown, panel=200))
    PICTURE.write_bytes(encoded(stacked(rows), ".jpg"))


def _reduced(photograph: Image) -> FloatImage:
    scale = max(HEIGHT / photograph.shape[0], WIDTH / photograph.shape[1])
    reduced = cv2.resize(
        to_float(photograph), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA
    )
    return np.asarray(reduced[:HEIGHT, :WIDTH], np.float32)


if __name__ == "__main__":
    main()
