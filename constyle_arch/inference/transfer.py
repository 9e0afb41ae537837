"""Giving a clean image the degradation of another one (arXiv 2402.15784, figure 1)."""

import numpy as np
from numpy.random import RandomState
from scipy import fft

from constyle_arch.images import FloatImage

ROUNDS = 30
"""Of matching spectrum and values; more change nothing to be seen."""


def transferred(
    content: FloatImage, degraded: FloatImage, restored: FloatImage, rng: RandomState
) -> FloatImage:
    """Degrade a clean image as another one is.

    A degradation is taken for two things: a straight line for each channel, from what a network
    made of the degraded image back to that image, and a texture, what the line leaves over. The
    line is applied to the clean image, and a new texture of the same statistics is added. Haze is
    in the line for the most part, noise and rain are texture. What depends on the scene, such as
    denser haze far away, comes out at random places.

    Args:
        content: the clean image (H, W, 3), RGB in [0, 1].
        degraded: the other image (h, w, 3), of any size.
        restored: the same without its degradation.
        rng: decides the texture.

    Returns:
        The degraded clean image (H, W, 3), in [0, 1].
    """
    pairs = zip(restored.reshape(-1, 3).T, degraded.reshape(-1, 3).T, strict=True)
    gain, offset = np.array([np.polyfit(before, after, 1) for before, after in pairs], np.float32).T
    texture = texture_like(
        degraded - (gain * restored + offset), content.shape[0], content.shape[1], rng
    )
    return np.clip(gain * content + offset + texture, 0, 1).astype(np.float32)


def texture_like(sample: FloatImage, height: int, width: int, rng: RandomState) -> FloatImage:
    """A random texture (height, width, 3) with the spectrum and the values of `sample`.

    The two are imposed in turn, beginning with random phases (Schreiber and Schmitz, "Improved
    surrogate data for nonlinearity tests", Phys. Rev. Lett. 77, 1996), along the principal axes of
    the sample's colours, so that gray streaks stay gray.
    """
    _, axes = np.linalg.eigh(np.cov(sample.reshape(-1, 3).T))
    colors = (sample @ axes).astype(np.float32)
    longest = np.maximum(sample.shape[:2], (height, width))
    size = [fft.next_fast_len(int(length), real=True) for length in longest]
    # the border is no edge of the texture
    faded = np.sqrt(np.outer(*map(np.hanning, sample.shape[:2])))[..., None]
    centred = faded * (colors - colors.mean(axis=(0, 1)))
    spectrum = fft.rfft2(centred.astype(np.float32), size, (0, 1))
    values = np.sort(colors.reshape(-1, 3), axis=0)
    values = values[np.linspace(0, len(values) - 1, size[0] * size[1]).round().astype(int)]
    phases = np.angle(spectrum) + np.angle(fft.rfft2(rng.standard_normal(size)))[..., None]
    for _ in range(ROUNDS):
        matched = fft.irfft2(np.abs(spectrum) * np.exp(1j * phases), size, (0, 1)).reshape(-1, 3)
        texture = np.empty_like(values)
        np.put_along_axis(texture, matched.argsort(axis=0), values, axis=0)
        phases = np.angle(fft.rfft2(texture.reshape(*size, 3), axes=(0, 1)))
    return (texture.reshape(*size, 3)[:height, :width] @ axes.T).astype(np.float32)
