"""The VGG network that BasicSR's `PerceptualLoss` compares images by."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from basicsr.archs.vgg_arch import NAMES, VGG_PRETRAIN_PATH, insert_bn

from constyle_arch.errors import OptionsError
from constyle_arch.losses.options import loss_options
from constyle_arch.torchvision_weights import file_of


def backbone_to_download(loss_opt: Mapping[str, Any]) -> Any:
    """The weights, torchvision's, that a loss of `train` would download now.

    None where it needs none that are not there; BasicSR looks in `VGG_PRETRAIN_PATH` first.

    Raises:
        OptionsError: there is no such VGG network, or it has no layer of that name.
    """
    if loss_opt.get("type") != "PerceptualLoss":
        return None
    from torchvision.models import get_model_weights

    name = str(loss_opt.get("vgg_type", "vgg19"))
    networks = [*NAMES, *(f"{known}_bn" for known in NAMES)]
    if name not in networks:
        raise OptionsError(f"vgg_type is {name}; it must be one of {', '.join(networks)}")
    layers = NAMES[name.removesuffix("_bn")]
    layers = insert_bn(layers) if name.endswith("_bn") else layers
    for layer in loss_opt.get("layer_weights") or {}:
        if layer not in layers:
            raise OptionsError(
                f"layer_weights has {layer}, which {name} has not; it has {', '.join(layers)}"
            )
    weights = get_model_weights(name).IMAGENET1K_V1
    return None if Path(VGG_PRETRAIN_PATH).exists() or file_of(weights).is_file() else weights


def downloads(train_opt: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What losses of a training would download now: the option that needs it, and the weights."""
    for name, loss_opt in loss_options(train_opt).items():
        if weights := backbone_to_download(loss_opt):
            yield f"train.{name}", weights
