"""Small data sets and runs that several test files share."""

import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

import constyle_arch

constyle_arch.register()

REPOSITORY = Path(__file__).parents[1]


def write_pairs(folder: Path, count: int, height: int = 40, width: int = 48) -> Path:
    """Write `count` smooth clean images and paler versions of them below `folder`, as `gt` and `lq`."""
    rng = np.random.default_rng(0)
    for side in ("gt", "lq"):
        (folder / side).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        coarse = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
        clean = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / "gt" / f"{index:03}.png"), clean)
        cv2.imwrite(str(folder / "lq" / f"{index:03}.png"), np.uint8(128 + clean / 2.5))
    return folder


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header tells any size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def small_network() -> dict[str, Any]:
    return {
        "type": "ConStyleRestormer",
        "dim": 8,
        "num_blocks_down": [1, 1, 1],
        "num_blocks_bottleneck": 1,
        "num_blocks_up": [1, 1, 1],
        "num_refinement_blocks": 1,
    }


def paired_dataset(folder: Path, name: str = "pairs") -> dict[str, Any]:
    return {
        "name": name,
        "type": "PairedRestorationDataset",
        "dataroot_gt": str(folder / "gt"),
        "dataroot_lq": str(folder / "lq"),
        "io_backend": {"type": "disk"},
    }


def training_options(train: Path, val: Path | None = None, **train_options: Any) -> dict[str, Any]:
    """A complete option file for a tiny ConStyle run on the CPU."""
    options: dict[str, Any] = {
        "name": "tiny",
        "model_type": "ConStyleModel",
        "scale": 1,
        "num_gpu": 0,
        "manual_seed": 3,
        "datasets": {
            "train": {
                **paired_dataset(train),
                "gt_size": 16,
                "use_hflip": True,
                "use_rot": True,
                "num_worker_per_gpu": 0,
                "batch_size_per_gpu": 4,
            }
        },
        "network_g": small_network(),
        "path": {"pretrain_network_g": None, "strict_load_g": True, "resume_state": None},
        "train": {
            "total_iter": 4,
            "ema_decay": 0.9,
            "optim_g": {"type": "AdamW", "lr": 0.001, "weight_decay": 0.0001, "betas": [0.9, 0.999]},
            "scheduler": {
                "type": "CosineAnnealingRestartCyclicLR",
                "periods": [50, 50],
                "restart_weights": [1, 1],
                "eta_mins": [0.001, 0.00001],
            },
            "contrast": {"queue_size": 24, "normalize": False},
            "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
            "contrastive_opt": {"type": "InfoNCELoss"},
            "content_opt": {"type": "ContentLoss"},
            "style_opt": {"type": "StyleLoss"},
            **train_options,
        },
        "logger": {"print_freq": 1, "save_checkpoint_freq": 2, "use_tb_logger": False},
    }
    if val is not None:
        options["datasets"]["val"] = paired_dataset(val)
        options["val"] = {
            "val_freq": 2,
            "save_img": False,
            "metrics": {"psnr": {"type": "calculate_psnr", "crop_border": 0, "test_y_channel": False}},
        }
    return options


def write_options(path: Path, options: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(options, sort_keys=False))
    return path


def run_command(
    *arguments: str | Path, cwd: Path, launcher: tuple[str, ...] = (), seconds: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run the `basicsr` command as a user does, in a process of its own; `launcher` starts it instead of Python."""
    command = [*(launcher or (sys.executable, "-m", "constyle_arch")), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=seconds, check=False
    )


@pytest.fixture(scope="session")
def ten_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("ten"), 10)


@pytest.fixture(scope="session")
def two_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("two"), 2, height=37, width=51)


@pytest.fixture
def make_model(ten_pairs: Path, tmp_path: Path) -> Callable[..., Any]:
    """Build a training model in this process, as BasicSR's pipeline does."""

    def make(
        seed: int = 0,
        network_g: dict[str, Any] | None = None,
        path: dict[str, Any] | None = None,
        model_type: str = "ConStyleModel",
        **train_options: Any,
    ) -> Any:
        import torch
        from basicsr.models import build_model

        options = training_options(ten_pairs, **train_options)
        options["network_g"] = network_g or options["network_g"]
        options |= {"is_train": True, "dist": False, "rank": 0, "world_size": 1, "model_type": model_type}
        options["path"] |= {**(path or {}), "models": str(tmp_path), "training_states": str(tmp_path)}
        torch.manual_seed(seed)
        return build_model(options)

    return make
