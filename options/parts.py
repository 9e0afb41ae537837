"""What several option files have in common."""

from collections.abc import Mapping
from typing import Any

from tasks import DataSet, sections
from writing import keys

ALL_METRICS = "psnr ssim psnr_y ssim_y"


def run(
    name: str, network: Mapping[str, Any], datasets: Mapping[str, Any], **other: Any
) -> dict[str, Any]:
    """The options of a run, section by section; `other` has those from `path` on, and
    `model_type`.
    """
    model = other.pop("model_type", "ConStyleModel")
    top = {"name": name, "model_type": model, "scale": 1, "num_gpu": "auto", "manual_seed": 100}
    return {**top, "datasets": datasets, "network_g": network, **other}


def training(
    name: str,
    network: Mapping[str, Any],
    data: DataSet,
    measured: tuple[DataSet, ...],
    loader: Mapping[str, Any],
    *,
    weights: Mapping[str, str] | None = None,
    **other: Any,
) -> dict[str, Any]:
    """The options of a training; `weights` are those to start from besides the network's."""
    datasets = {"train": {**data.section, **loader}, **sections("val", measured)}
    path = {
        "pretrain_network_g": None,
        **(weights or {}),
        "strict_load_g": True,
        "resume_state": None,
    }
    return run(name, network, datasets, path=path, **other)


def test(
    name: str,
    network: Mapping[str, Any],
    sets: tuple[DataSet, ...],
    val: Mapping[str, Any],
    **other: Any,
) -> dict[str, Any]:
    """The options of a test; of an experiment's network unless `weights` names others."""
    weights = other.pop("weights", f"experiments/{name}")
    path = {"pretrain_network_g": weights, "strict_load_g": True}
    return run(name, network, sections("test", sets), path=path, val=val, **other)


def adamw(rate: str, *periods: int, floors: list[float], beta2: float = 0.999) -> dict[str, Any]:
    """The optimizer with its schedule: a rate for each period, from `rate` down to `floors`."""
    return {
        "optim_g": {
            "type": "AdamW",
            "lr": f"!!float {rate}",
            "weight_decay": "!!float 1e-4",
            "betas": [0.9, beta2],
        },
        "scheduler": {
            "type": "CosineAnnealingRestartCyclicLR",
            "periods": list(periods),
            "restart_weights": [1] * len(periods),
            "eta_mins": floors,
        },
    }


def losses(weight: float | None = 1) -> dict[str, Any]:
    """The pixel loss, and those of ConStyle with a weight; None for no ConStyle."""
    pixel = {"pixel_opt": keys("type: L1Loss, loss_weight: 1, reduction: mean")}
    if weight is None:
        return pixel
    return {
        **pixel,
        "contrastive_opt": {"type": "InfoNCELoss", "temperature": 0.07, "loss_weight": weight},
        "content_opt": {"type": "ContentLoss", "loss_weight": weight},
        "style_opt": {"type": "StyleLoss", "loss_weight": weight},
    }


def metrics(names: str) -> dict[str, Any]:
    """`val.metrics`, such as psnr and, of the luminance, psnr_y."""
    return {
        name: {
            "type": f"calculate_{name[:4]}",
            "crop_border": 0,
            "test_y_channel": name.endswith("_y"),
        }
        for name in names.split()
    }


def logger(print_freq: int, save: int | str, tensorboard: bool = True) -> dict[str, Any]:
    """`logger`."""
    return {"print_freq": print_freq, "save_checkpoint_freq": save, "use_tb_logger": tensorboard}
