"""Small data sets, networks and option files that test files share."""

from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import cv2
import numpy as np
import torch
import yaml

from constyle_arch.data.image_stores import ImageLmdb
from tests.processes import REPOSITORY, run_command


def keys(text: str) -> dict[str, Any]:
    """Keys and values out of a line of YAML, `type: NAFNet, width: 4`."""
    return yaml.safe_load(f"{{{text}}}")


TINY_NAFNET = keys(
    "type: NAFNet, width: 4, enc_blk_nums: [1], middle_blk_num: 1, dec_blk_nums: [1]"
)


def write_pairs(folder: Path, count: int, height: int = 40, width: int = 48) -> Path:
    """Write `count` smooth clean images and paler versions of them below `folder`, as `gt` and
    `lq`."""
    rng = np.random.default_rng(0)
    for side in ("gt", "lq"):
        (folder / side).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        coarse = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
        clean = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / "gt" / f"{index:03}.png"), clean)
        cv2.imwrite(str(folder / "lq" / f"{index:03}.png"), np.uint8(128 + clean / 2.5))
    return folder


def small_network() -> dict[str, Any]:
    return keys(
        "type: ConStyleRestormer, dim: 8, num_blocks_down: [1, 0, 0], num_blocks_bottleneck: 1, "
        "num_blocks_up: [0, 0, 1], num_refinement_blocks: 1"
    )


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
        **keys("name: tiny, model_type: ConStyleModel, scale: 1, num_gpu: 0, manual_seed: 3"),
        "datasets": {
            "train": {
                **paired_dataset(train),
                **keys("gt_size: 16, use_hflip: true, use_rot: true"),
                **keys("num_worker_per_gpu: 0, batch_size_per_gpu: 4"),
            }
        },
        "network_g": small_network(),
        "path": keys("pretrain_network_g: ~, strict_load_g: true, resume_state: ~"),
        "train": {
            **keys("total_iter: 4, ema_decay: 0.9"),
            "optim_g": keys("type: AdamW, lr: 0.001, weight_decay: 0.0001, betas: [0.9, 0.999]"),
            "scheduler": keys(
                "type: CosineAnnealingRestartCyclicLR, periods: [50, 50], restart_weights: [1, 1], "
                "eta_mins: [0.001, 0.00001]"
            ),
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
        psnr = {"type": "calculate_psnr", "crop_border": 0, "test_y_channel": False}
        options["val"] = {"val_freq": 2, "save_img": False, "metrics": {"psnr": psnr}}
    return options


def write_options(path: Path, options: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(options, sort_keys=False))
    return path


def run_with(
    command: str, options: dict[str, Any], cwd: Path, *flags: str | Path, processes: int = 1
) -> CompletedProcess[str]:
    """Run a command in `cwd` with these options."""
    file = write_options(cwd / "run.yml", options)
    return run_command(command, "-opt", file, *flags, cwd=cwd, processes=processes)


def trained(options: dict[str, Any], cwd: Path, *flags: str | Path, processes: int = 1) -> Path:
    """Train in `cwd` by the command, which must succeed without a warning of Python's; the
    experiment's folder.
    """
    result = run_with("train", options, cwd, *flags, processes=processes)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "Warning: " not in result.stderr, result.stderr
    return cwd / "experiments" / options["name"]


def log_of(home: Path) -> str:
    """The log of an experiment that was trained once."""
    return next(home.glob("train_*.log")).read_text()


def equal(one, other):
    """Whether two trees of tensors and plain values are the same to the last bit."""
    if isinstance(one, torch.Tensor):
        alike = isinstance(other, torch.Tensor) and one.dtype == other.dtype
        return alike and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(equal(a, b) for a, b in zip(one, other, strict=True))
    return one == other


OPTIONS = REPOSITORY / "options"
FILES = sorted(path.relative_to(OPTIONS).as_posix() for path in OPTIONS.rglob("*.yml"))
ABLATIONS = [file for file in FILES if file.startswith("ablations/")]
RECIPES = [file for file in FILES if "demo" not in file and file not in ABLATIONS]


def contents(lmdb_folder):
    store = ImageLmdb(lmdb_folder)
    return {name: store.read(name) for name in store.names}
