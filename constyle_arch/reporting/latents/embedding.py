"""Codes of 128 numbers as points of a picture."""

from typing import NamedTuple

import torch
from torch import Tensor

from constyle_arch.errors import UserError

METHODS = ("pca", "tsne")

PERPLEXITY = 30
"""Of t-SNE: about how many neighbors each point has, fewer where there are few points."""

SMALLEST = torch.finfo(torch.float64).tiny
"""What is divided by instead of 0."""


class Embedding(NamedTuple):
    """Points (N, 2), and what the two axes are."""

    points: Tensor
    axes: tuple[str, str]


def embed(codes: Tensor, method: str) -> Embedding:
    """Points for codes (N, D) by one of `METHODS`; the same points each time."""
    return _principal_components(codes) if method == "pca" else _tsne(codes)


def check_method(method: str) -> None:
    """Check that a method can be computed here.

    Raises:
        UserError: `tsne` is asked for and scikit-learn is not installed.
    """
    if method == "tsne":
        try:
            import sklearn.manifold  # noqa: F401
        except ImportError as error:
            raise UserError(
                f"--method tsne needs scikit-learn ({error}): pip install scikit-learn."
            ) from error


def _principal_components(codes: Tensor) -> Embedding:
    """The first two principal components, with their largest entries made positive."""
    centered = codes.double() - codes.double().mean(dim=0)
    _, deviations, directions = torch.linalg.svd(centered, full_matrices=False)
    first_two = directions[:2]
    largest = first_two.gather(1, first_two.abs().argmax(dim=1, keepdim=True))
    shares = deviations**2 / (deviations**2).sum().clamp(min=SMALLEST)
    names = [
        f"component {place}, {float(share):.0%} of the variance"
        for place, share in enumerate(shares[:2], start=1)
    ]
    return Embedding(centered @ (first_two * largest.sign()).T, (names[0], names[1]))


def _tsne(codes: Tensor) -> Embedding:
    from sklearn.manifold import TSNE

    # of a collapsed encoder they are tiny
    codes = codes.double() / codes.double().std().clamp(min=SMALLEST)
    start = _principal_components(codes).points
    start = 1e-4 * start / start.std().clamp(min=SMALLEST)
    perplexity = min(PERPLEXITY, (len(codes) - 1) / 3)
    points = TSNE(perplexity=perplexity, init=start.float().numpy(), random_state=0).fit_transform(
        codes.numpy()
    )
    return Embedding(torch.from_numpy(points), ("t-SNE 1", "t-SNE 2"))
