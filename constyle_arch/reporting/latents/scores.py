"""How well codes tell images apart, measured on the codes themselves."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

CLEAN_LABEL = 0


@dataclass(frozen=True)
class Separation:
    """How well codes separate groups of images.

    Args:
        clean: silhouette coefficient of two groups, the degraded and the clean images.
        types: silhouette coefficient of the types of degradation; not a number where there is one
            alone.
        neighbors: share of degraded images whose nearest other degraded image is of their type.
        chance: what that share would be if any other image were as likely the nearest.
        deviation: standard deviation of the codes over the images, averaged over their entries;
            near 0 they collapsed.
    """

    clean: float
    types: float
    neighbors: float
    chance: float
    deviation: float


def separation(codes: Tensor, labels: Tensor) -> Separation:
    """Measure codes (N, D) of groups `labels` (N,): 0 is clean, others are degradations."""
    distances = distances_of(codes)
    degraded = labels != CLEAN_LABEL
    types, among_types = labels[degraded], distances[degraded][:, degraded]
    counts = torch.bincount(types).double()
    pairs = len(types) * (len(types) - 1)
    return Separation(
        clean=silhouette(distances, degraded.long()),
        types=silhouette(among_types, types),
        neighbors=neighbors_of_own_group(among_types, types),
        chance=float((counts * (counts - 1)).sum()) / pairs if pairs else math.nan,
        deviation=float(codes.double().std(dim=0).mean()),
    )


def distances_of(codes: Tensor) -> Tensor:
    """The Euclidean distance of each code (N, D) to each other, (N, N)."""
    return torch.cdist(codes.double(), codes.double(), compute_mode="donot_use_mm_for_euclid_dist")


def silhouette(distances: Tensor, labels: Tensor) -> float:
    """The mean silhouette coefficient (Rousseeuw 1987): 1 for groups far apart, 0 for mixed ones.

    An image's is (b − a) / max(a, b): a is its mean distance to its own group, b to the nearest
    other one. It is 0 where the image is alone in its group.

    Args:
        distances: of N images to each other, (N, N).
        labels: the group of each, (N,), whole numbers from 0.

    Returns:
        The mean over the images; not a number where there is but one group.
    """
    members = F.one_hot(labels).bool()
    members = members[:, members.any(dim=0)]
    sizes = members.sum(dim=0)
    if len(sizes) < 2:
        return math.nan
    sums = distances @ members.double()
    own_size = (members * sizes).sum(dim=1)
    own = sums[members] / (own_size - 1).clamp(min=1)
    nearest_other = (sums / sizes).masked_fill(members, math.inf).amin(dim=1)
    coefficients = (nearest_other - own) / torch.maximum(own, nearest_other)
    # equal codes give 0 / 0
    return float(coefficients.nan_to_num(0).masked_fill(own_size == 1, 0).mean())


def neighbors_of_own_group(distances: Tensor, labels: Tensor) -> float:
    """The share of images whose nearest other, by `distances` (N, N), has their label (N,)."""
    if len(labels) < 2:
        return math.nan
    nearest = distances.clone().fill_diagonal_(math.inf).argmin(dim=1)
    return float((labels[nearest] == labels).double().mean())


def table(measured: Mapping[str, Separation]) -> str:
    """What was measured as text: a column for each encoder, by its name."""
    encoders = list(measured.values())
    nearest = "nearest degraded image is of the same type"
    rows = {
        "": list(measured),
        "silhouette of degraded and clean images": [number(one.clean) for one in encoders],
        "silhouette of degradation types": [number(one.types) for one in encoders],
        f"{nearest} (by chance {percent(encoders[0].chance)})": [
            percent(one.neighbors) for one in encoders
        ],
        "standard deviation of the codes": [f"{one.deviation:.2e}" for one in encoders],
    }
    first = max(map(len, rows))
    return "\n".join(
        f"{label:<{first}}" + "".join(f"{cell:>17}" for cell in cells)
        for label, cells in rows.items()
    )


def number(value: float) -> str:
    """A silhouette coefficient as people read it."""
    return "–" if math.isnan(value) else f"{value:+.3f}"


def percent(share: float) -> str:
    """A share as people read it."""
    return "–" if math.isnan(share) else f"{share:.0%}"
