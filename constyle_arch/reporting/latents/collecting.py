"""Which images are encoded, and what ConStyle makes of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from constyle_arch import load_network
from constyle_arch.archs.constyle_arch import ConStyle
from constyle_arch.archs.general_restoration_arch import GuidedNetwork
from constyle_arch.archs.layers import pad_to_multiple
from constyle_arch.data.image_stores import ImageFolder, ImageStore, open_store
from constyle_arch.errors import CheckpointError, DataError
from constyle_arch.images import decode, to_float
from constyle_arch.inference.restoring import codes_of
from constyle_arch.reporting.figure_files import distinct_names

CLEAN = "clean"

SEED = 0
"""Of the encoder before training."""

CELL = 512
"""Side of the pieces, in pixels, in which large images are encoded."""


class Source(NamedTuple):
    """An image to read: where it lies, and its name there."""

    store: ImageStore
    name: str


@dataclass(frozen=True)
class Latents:
    """ConStyle's second codes of N images.

    Args:
        groups: `CLEAN`, then the types of degradation.
        labels: the group of each image, (N,): 0 is clean.
        codes: (N, 128), by the encoder's name.
        problems: what is wrong with images that were left out.
    """

    groups: list[str]
    labels: Tensor
    codes: dict[str, Tensor]
    problems: list[str]


def guided_network(path: Path) -> GuidedNetwork:
    """The network of a checkpoint, which must have ConStyle's encoder.

    Raises:
        CheckpointError: the file cannot be read, or holds a network without one.
    """
    network = load_network(path)
    if not isinstance(network, GuidedNetwork):
        raise CheckpointError(
            f"{path} holds a {type(network).__name__}, which has no ConStyle encoder; give the "
            "weights of a ConStyleRestormer, ConStyleNAFNet, ConStyleMaxim or another network that "
            "ConStyle guides."
        )
    return network


def untrained_encoder() -> ConStyle:
    """ConStyle as a training starts with it, the same each time, and the global seed untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return ConStyle().eval()


def degraded_images(roots: Sequence[str]) -> dict[str, list[Source]]:
    """Degraded images by type: each folder is one, or each folder below a single one.

    Raises:
        DataError: a place cannot be read or is empty.
    """
    stores = [open_store(root, "--lq") for root in roots]
    first = stores[0]
    if len(stores) == 1 and isinstance(first, ImageFolder) and all("/" in n for n in first.names):
        types: dict[str, list[Source]] = {}
        for name in first.names:
            types.setdefault(name.split("/")[0], []).append(Source(first, name))
        return types
    names = distinct_names([Path(root) for root in roots])
    return {name: _all_of(store) for name, store in zip(names, stores, strict=True)}


def clean_images(roots: Sequence[str]) -> list[Source]:
    """All images of some folders or LMDBs.

    Raises:
        DataError: a place cannot be read or is empty.
    """
    return [source for root in roots for source in _all_of(open_store(root, "--gt"))]


def _all_of(store: ImageStore) -> list[Source]:
    return [Source(store, name) for name in store.names]


@torch.inference_mode()
def encode(
    encoders: Mapping[str, ConStyle],
    multiple: int,
    clean: Sequence[Source],
    types: Mapping[str, Sequence[Source]],
) -> Latents:
    """Encode images of any size, large ones in pieces; those that cannot be decoded are left out.

    The second code is taken: the one that is contrasted, and the one that enters the network.

    Args:
        encoders: in evaluation mode, by name.
        multiple: sides are padded to a multiple of it, as the network does before it encodes.
        clean: the clean images.
        types: the degraded images, by type.

    Raises:
        DataError: of the clean images or of a type none can be decoded.
        CheckpointError: codes are not finite.
    """
    groups = [(CLEAN, clean), *types.items()]
    sources = [(label, source) for label, (_, group) in enumerate(groups) for source in group]
    labels: list[int] = []
    codes: dict[str, list[Tensor]] = {name: [] for name in encoders}
    problems: list[tuple[int, str]] = []
    for label, source in tqdm(sources, desc="encoding", unit="image", disable=None):
        try:
            image = pad_to_multiple(_read(source), multiple)
        except DataError as error:
            problems.append((label, str(error)))
            continue
        labels.append(label)
        for name, encoder in encoders.items():
            codes[name].append(codes_of(encoder, image, CELL).c2)
    for label, (name, group) in enumerate(groups):
        if label not in labels:
            first = next(problem for of, problem in problems if of == label)
            raise DataError(f"{name}: none of {len(group)} images can be decoded. {first}")
    names = [name for name, _ in groups]
    latents = Latents(
        names,
        torch.tensor(labels),
        {name: torch.cat(of_encoder) for name, of_encoder in codes.items()},
        [problem for _, problem in problems],
    )
    for name, of_encoder in latents.codes.items():
        if not of_encoder.isfinite().all():
            raise CheckpointError(
                f"The codes {name} are not finite; the weights hold numbers that are not."
            )
    return latents


def _read(source: Source) -> Tensor:
    image = decode(source.store.read(source.name), source.store.location(source.name))
    return torch.from_numpy(to_float(image)).flip(2).permute(2, 0, 1)[None]
