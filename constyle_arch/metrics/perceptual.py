"""LPIPS and DISTS, of torchmetrics.

Both compare features of a network that was trained on ImageNet: the backbone, which torchvision
downloads at its first use. What they learned beyond it comes with torchmetrics.
"""

import inspect
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from basicsr.utils.registry import METRIC_REGISTRY
from numpy.typing import NDArray
from torch import Tensor, nn

from constyle_arch.errors import OptionsError, RunError
from constyle_arch.torchvision_weights import file_of

BACKBONES = {"alex": "AlexNet_Weights", "vgg": "VGG16_Weights"}
"""What torchvision calls the weights."""

SMALLEST = 32
"""The shortest side in pixels that is scored: AlexNet leaves nothing of shorter ones."""


def calculate_lpips(
    img: NDArray[np.uint8],
    img2: NDArray[np.uint8],
    crop_border: int = 0,
    *,
    net: str = "alex",
    better: str = "higher",
) -> float:
    """Learned perceptual image patch similarity (Zhang et al., CVPR 2018); lower is better.

    Args:
        img: the image, (H, W, 3), BGR, or (H, W), gray, in [0, 255].
        img2: the clean image, likewise.
        crop_border: pixels that are not compared at each edge.
        net: the backbone, `alex` as most papers have it, or `vgg`.
        better: `lower`, so that the best network is not the worst.

    Returns:
        The distance, 0 of equal images; NaN of images with a side below 32 pixels.

    Raises:
        OptionsError: `net` or `better` is none of those.
        RunError: torchmetrics is not installed, or the backbone cannot be downloaded.
    """
    _check(better)
    with torch.inference_mode():
        images = _as_tensors(img, img2, crop_border)
        return float(_lpips(net)(*images, normalize=True)) if images else float("nan")


def calculate_dists(
    img: NDArray[np.uint8], img2: NDArray[np.uint8], crop_border: int = 0, *, better: str = "higher"
) -> float:
    """Deep image structure and texture similarity (Ding et al., TPAMI 2020); lower is better.

    Images are compared at the size they have. See `calculate_lpips`; the backbone is VGG-16.
    """
    _check(better)
    with torch.inference_mode():
        images = _as_tensors(img, img2, crop_border)
        return float(_dists()(*images)) if images else float("nan")


METRICS = {"calculate_lpips": calculate_lpips, "calculate_dists": calculate_dists}

for _metric in METRICS.values():
    METRIC_REGISTRY.register(_metric)


def backbone_to_download(metric_opt: Mapping[str, Any]) -> Any:
    """The weights, torchvision's, that a metric of `val.metrics` would download now.

    None where the metric needs none that are not there.

    Raises:
        OptionsError, RunError, TypeError: see `calculate_lpips`; or an option does not exist.
    """
    options = {key: value for key, value in metric_opt.items() if key != "type"}
    metric = METRICS.get(metric_opt["type"])
    if metric is None:
        return None
    inspect.signature(metric).bind(None, None, **options)
    _check(options.get("better", "higher"))
    weights = _backbone("vgg" if metric is calculate_dists else options.get("net", "alex"))
    return None if file_of(weights).is_file() else weights


def downloads(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What `val.metrics` of a run would download now: the option that needs it, and the weights."""
    for name, metric_opt in metrics.items():
        if weights := backbone_to_download(metric_opt):
            yield f"val.metrics.{name}", weights


def _check(better: str) -> None:
    if better != "lower":
        raise OptionsError(f"better is {better}, and a lower distance is better; set better: lower")


def _backbone(net: str) -> Any:
    try:
        import torchmetrics  # noqa: F401
        import torchvision.models
    except ModuleNotFoundError as error:
        raise RunError(
            f"{error.name} is not installed: "
            'pip install --no-build-isolation "constyle-arch[train,metrics]"'
        ) from error
    if net not in BACKBONES:
        raise OptionsError(f"net is {net}; it must be one of {', '.join(BACKBONES)}")
    return getattr(torchvision.models, BACKBONES[net]).DEFAULT


@cache
def _lpips(net: str) -> nn.Module:
    _backbone(net)
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    return LearnedPerceptualImagePatchSimilarity(net_type=net).net


@cache
def _dists() -> nn.Module:
    _backbone("vgg")
    from torchmetrics.functional.image import dists

    network = dists.DISTSNetwork(load_weights=False)  # its own loading needs a GPU
    file = Path(dists.__file__).parent / "dists_models" / "weights.pt"
    learned = torch.load(file, map_location="cpu", weights_only=True)
    network.load_state_dict(learned, strict=False)
    return network


def _as_tensors(
    img: NDArray[np.uint8], img2: NDArray[np.uint8], crop_border: int
) -> tuple[Tensor, Tensor] | None:
    """Both images, (1, 3, H, W), RGB, in [0, 1]; None where a side is too short."""
    rest = slice(crop_border, -crop_border or None)
    images = [image[rest, rest] for image in (img, img2)]
    if min(images[0].shape[:2]) < SMALLEST:
        return None
    return _as_tensor(images[0]), _as_tensor(images[1])


def _as_tensor(image: NDArray[np.uint8]) -> Tensor:
    rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB if image.ndim == 3 else cv2.COLOR_GRAY2RGB)
    return torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255
