"""The tensor names of published weights, and this project's names for the same tensors.

The mapping is a list of rules per part of the network, so that it holds for every width and depth.
"""

import re
from collections.abc import Mapping

from torch import Tensor

_ENCODER_RULES = [
    (r"stage(\d)\.(\d)\.0\.", lambda m: f"stages.{int(m[1]) - 1}.{2 * int(m[2])}."),
    (r"mlp(\d)\.", lambda m: f"projections.{int(m[1]) - 1}."),
]

_NETWORK_RULES = [
    (r"ConStyle\.encoder_q\.", lambda m: "encoder."),
    (r"AffineTransform(\d)\.", lambda m: f"project_features.{m[1]}."),
    (r"mlp\.0\.", lambda m: "project_code."),
    (r"Preprocess_Module\.(proj|0)\.", lambda m: "preprocess."),
    (r"Process_Module_l(\d)\.", lambda m: f"down.{int(m[1]) - 1}."),
    (r"DC(\d)\.down\.0\.", lambda m: f"downsample.{int(m[1]) - 1}.reduce."),
    (r"Process_Module_bottom\.", lambda m: "bottleneck."),
    (r"local_fusion\.", lambda m: "fuse."),
    (r"UC(\d)\.up\.0\.", lambda m: f"upsample.{3 - int(m[1])}.expand."),
    (r"UC(\d)\.down\.", lambda m: f"upsample.{3 - int(m[1])}.join."),
    (r"Process_Module_r(\d)\.", lambda m: f"up.{3 - int(m[1])}."),
    (r"Finetune_Module\.\d+\.(weight|bias)$", lambda m: f"output.{m[1]}"),
    (r"Finetune_Module\.", lambda m: "refine."),
]

_RESTORMER_RULES = [
    (r"patch_embed\.proj\.", lambda m: "patch_embed."),
    (r"encoder_level(\d)\.", lambda m: f"encoders.{int(m[1]) - 1}."),
    (r"down(\d)_\d\.body\.", lambda m: f"downs.{int(m[1]) - 1}."),
    (r"up(\d)_\d\.body\.", lambda m: f"ups.{4 - int(m[1])}."),
    (r"reduce_chan_level(\d)\.", lambda m: f"reduces.{3 - int(m[1])}."),
    (r"decoder_level(\d)\.", lambda m: f"decoders.{3 - int(m[1])}."),
]

_BLOCK_RULES = [
    (r"(norm\d)\.body\.", lambda m: f"{m[1]}."),
    (r"\.sca\.1\.", lambda m: ".sca."),
]

_TRAINING_ONLY = re.compile(r"ConStyle\.(encoder_k\.|queue)")
"""The momentum encoder and the queue, which a network for inference does not hold."""


def from_published(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a published state dict to this project's names, leaving out what only training needs.

    Args:
        state_dict: tensors under the names of the authors' release, or of Restormer's or NAFNet's.

    Returns:
        The same tensors, in the same order, under the names that the network of this package loads strictly.
    """
    return {_rename(name): tensor for name, tensor in state_dict.items() if not _TRAINING_ONLY.match(name)}


def _rename(name: str) -> str:
    for pattern, replacement in _NETWORK_RULES + _RESTORMER_RULES:
        name, replaced = re.subn("^" + pattern, replacement, name)
        if replaced:
            break
    for pattern, replacement in _ENCODER_RULES:
        name = re.sub(r"(?<=^encoder\.)" + pattern, replacement, name)
    for pattern, replacement in _BLOCK_RULES:
        name = re.sub(pattern, replacement, name)
    return name
