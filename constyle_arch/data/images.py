"""The forms in which images are handed around as arrays."""

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""(H, W, 3), BGR, as OpenCV reads and writes it."""

FloatImage = NDArray[np.float32]
"""(H, W, 3) or, for a map, (H, W)."""
