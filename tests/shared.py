"""What test files share: small data sets, runs, networks and photographs."""

import io
import json
import struct
import zlib
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
import torch
import yaml
from PIL import Image, ImageCms
from torch import Tensor

import constyle_arch
from constyle_arch import cli
from constyle_arch.archs import (
    ConStyleConv,
    ConStyleMaxim,
    ConStyleNAFNet,
    ConStyleRestormer,
    Maxim,
    NAFNet,
    Restormer,
)
from constyle_arch.images import to_float
from tests.golden.formula_weights import formula_tensor
from tests.processes import REPOSITORY


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


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header tells any size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
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
            "optim_g": {
                "type": "AdamW",
                "lr": 0.001,
                "weight_decay": 0.0001,
                "betas": [0.9, 0.999],
            },
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
            "metrics": {
                "psnr": {"type": "calculate_psnr", "crop_border": 0, "test_y_channel": False}
            },
        }
    return options


def write_options(path: Path, options: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(options, sort_keys=False))
    return path


def equal(one, other):
    """Whether two trees of tensors and plain values are the same to the last bit."""
    if isinstance(one, torch.Tensor):
        return (
            isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
        )
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(equal(a, b) for a, b in zip(one, other, strict=True))
    return one == other


TOTAL = 14


def outcome(cwd):
    """All that a finished run leaves: weights, EMA, best network, last state, metrics history."""
    home = cwd / "experiments" / "tiny"
    outcome = {
        name: torch.load(home / name, weights_only=True)
        for name in (
            "models/net_g_latest.pth",
            "models/net_g_best.pth",
            f"training_states/{TOTAL}.state",
        )
    }
    outcome["history"] = json.loads((home / "models" / "metrics_history.json").read_text())
    return outcome


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        for key in one[name] if isinstance(one[name], dict) else ():
            assert equal(one[name][key], other[name][key]), (name, key)
        assert equal(one[name], other[name]), name


def options_for(folder, workers=0):
    """Three iterations an epoch, a checkpoint every second, a validation every third, the contrast
    until seven."""
    options = training_options(
        write_pairs(folder / "train", 10),
        write_pairs(folder / "val", 3),
        total_iter=TOTAL,
        constyle_iter=7,
    )
    options["train"]["mixing_augs"] = {"mixup": True}
    options["train"]["scheduler"] |= {"periods": [6, 10]}
    options["datasets"]["train"]["num_worker_per_gpu"] = workers
    options["val"] |= {"val_freq": 3}
    options["val"]["metrics"]["ssim"] = {
        "type": "calculate_ssim",
        "crop_border": 0,
        "test_y_channel": False,
    }
    return options


GOLDEN = Path(__file__).parent / "golden"
SHAPES = json.loads((GOLDEN / "state_dict_shapes.json").read_text())
SMALL = {
    "dim": 16,
    "num_blocks_down": (1, 2, 1),
    "num_blocks_bottleneck": 2,
    "num_blocks_up": (2, 1, 1),
    "num_refinement_blocks": 1,
    "layer_norm_type": "BiasFree",
}
SMALL_NAFNET = {
    key: SMALL[key] for key in ("dim", "num_blocks_down", "num_blocks_bottleneck", "num_blocks_up")
}
NETWORKS = {
    "ConStyleRestormer": ConStyleRestormer,
    "ConStyleRestormer_small": partial(ConStyleRestormer, **SMALL),
    "ConStyleNAFNet": ConStyleNAFNet,
    "ConStyleNAFNet_small": partial(ConStyleNAFNet, **SMALL_NAFNET),
    "ConStyleMaxim": ConStyleMaxim,
    "ConStyleConv": ConStyleConv,
    "Restormer": Restormer,
    "NAFNet": NAFNet,
    "Maxim": Maxim,
}


def published_state_dict(name: str) -> dict[str, Tensor]:
    return {
        tensor: torch.from_numpy(np.asarray(formula_tensor(tensor, shape)))
        for tensor, shape in SHAPES[name].items()
    }


def assert_agrees(actual: Tensor, golden: np.ndarray) -> None:
    """To 1e-4 of the golden values' standard deviation."""
    expected = torch.from_numpy(golden)
    assert (actual - expected).abs().max() < 1e-4 * expected.std()


TINY = {
    "ConStyleRestormer": partial(ConStyleRestormer, **SMALL),
    "ConStyleNAFNet": partial(ConStyleNAFNet, **SMALL_NAFNET),
    "Restormer": partial(Restormer, dim=8, num_blocks=(1, 1, 1, 1), num_refinement_blocks=1),
    "ConStyleMaxim": partial(ConStyleMaxim, dim=8, num_blocks_bottleneck=1),
    "Maxim": partial(Maxim, dim=8, num_blocks_bottleneck=1),
    "NAFNet": partial(NAFNet, width=8, enc_blk_nums=(1, 1), middle_blk_num=1, dec_blk_nums=(1, 1)),
}


def _unet(draw):
    """Options of any U-Net with ConStyle."""
    return {
        "dim": 4 * draw.randint(2, 6),
        "num_blocks_down": [draw.randint(0, 2) for _ in range(3)],
        "num_blocks_bottleneck": draw.randint(1, 2),
        "num_blocks_up": [draw.randint(0, 2) for _ in range(3)],
        **_guides(draw),
    }


def _guides(draw):
    return {"use_features": draw.random() < 0.5, "use_code": draw.random() < 0.5}


RANDOM_OPTIONS = {
    "ConStyleRestormer": lambda draw: {
        **_unet(draw),
        "num_refinement_blocks": draw.randint(0, 2),
        "heads": [draw.choice([1, 2, 4]) for _ in range(4)],
        "ffn_expansion_factor": draw.choice([2, 2.66, 1.5, 3.141]),
        "bias": draw.random() < 0.5,
        "layer_norm_type": draw.choice(["WithBias", "BiasFree"]),
    },
    "ConStyleNAFNet": lambda draw: {
        **_unet(draw),
        "num_refinement_blocks": draw.randint(0, 2),
        "bias": draw.random() < 0.5,
    },
    "ConStyleConv": lambda draw: {
        **_unet(draw),
        "activation": "prelu",
        "num_blocks_down": [1, 1, 1],
        "num_blocks_bottleneck": 1,
        "num_blocks_up": [1, 1, 1],
    },
    "ConStyleMaxim": lambda draw: {
        **_guides(draw),
        "dim": 4 * draw.randint(1, 4),
        "num_blocks_bottleneck": draw.randint(0, 3),
        "bias": draw.random() < 0.5,
    },
    "ConStyleKBNet": lambda draw: {**_unet(draw), "dim": draw.choice([4, 8, 32])},
    "ConStyleUformer": lambda draw: {
        **_unet(draw),
        "heads": [draw.choice([1, 2, 4]) for _ in range(4)],
    },
    "Restormer": lambda draw: {
        "inp_channels": (channels := draw.choice([1, 3])),
        "out_channels": channels,
        "dual_pixel_task": draw.random() < 0.5,
        "dim": 4 * draw.randint(2, 6),
        "num_blocks": [draw.randint(0, 2) for _ in range(3)] + [draw.randint(1, 2)],
        "num_refinement_blocks": draw.randint(0, 2),
        "heads": [draw.choice([1, 2, 4]) for _ in range(4)],
        "ffn_expansion_factor": draw.choice([2, 2.66, 1.5]),
        "bias": draw.random() < 0.5,
        "layer_norm_type": draw.choice(["WithBias", "BiasFree"]),
    },
    "NAFNet": lambda draw: {
        "width": draw.randint(4, 12),
        "enc_blk_nums": (levels := [draw.randint(0, 2) for _ in range(draw.randint(1, 4))]),
        "middle_blk_num": draw.randint(1, 2),
        "img_channel": draw.choice([1, 3]),
        "block": draw.choice(["NAF", "Baseline"]),
        "dec_blk_nums": levels[::-1],
    },
    "MultiStageMaxim": lambda draw: {
        "num_stages": draw.randint(2, 3),
        "dim": 4 * draw.randint(1, 2),
        "num_blocks_bottleneck": draw.randint(0, 2),
    },
    "Maxim": lambda draw: {
        "dim": 4 * draw.randint(1, 4),
        "num_blocks_bottleneck": draw.randint(0, 3),
        "bias": draw.random() < 0.5,
    },
}


def random_network(seed=0):
    torch.manual_seed(seed)
    options = small_network()
    del options["type"]
    network = ConStyleRestormer(**options)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network.eval()


QUEUE = 12
BATCH = 5  # does not divide the queue, so that it wraps around


def batch(seed: int, size: int = BATCH) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    lq, gt = torch.rand(2, size, 3, 16, 16, generator=generator)
    return {"lq": lq, "gt": gt}


def everything(model):
    """All that a step may change, copied."""
    state = {
        "net": model.get_bare_model(model.net_g).state_dict(),
        "ema": model.net_g_ema.state_dict(),
        "contrast": model.contrast.state_dict(),
        "optimizer": model.optimizer_g.state_dict()["state"],
    }
    return deepcopy(state)


def restore_command(*arguments):
    return cli.main(["restore", "--device", "cpu", *map(str, arguments)])


def directly_restored(pixels, weights):
    """By the network's own call, without anything of what is tested."""
    network = constyle_arch.load_network(weights)
    colors = np.dstack([pixels] * 3) if pixels.ndim == 2 else pixels
    with torch.no_grad():
        result = (
            network(torch.from_numpy(to_float(colors)).permute(2, 0, 1)[None])[0]
            .permute(1, 2, 0)
            .numpy()
        )
    result = result.mean(axis=2) if pixels.ndim == 2 else result
    most = np.iinfo(pixels.dtype).max
    return np.round(np.clip(result, 0, 1) * most).astype(pixels.dtype)


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
CAMERA = 0x010F


def picture(height=37, width=52, channels=3, bits=8):
    """Soft colours, which JPEG and WebP hardly change."""
    rng = np.random.default_rng(0)
    coarse = rng.random((4, 5, channels)).astype(np.float32)
    fine = np.atleast_3d(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR))
    most, dtype = (255, np.uint8) if bits == 8 else (65535, np.uint16)
    return np.round(fine * most).astype(dtype)


def exif(orientation):
    data = Image.Exif()
    data[0x0112], data[CAMERA] = orientation, "Some Camera"
    return data


def broken_files():
    png = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)).save(
        png, "PNG"
    )
    jpeg = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)).save(
        jpeg, "JPEG"
    )
    many = io.BytesIO()
    one = Image.fromarray(picture())
    one.save(many, "TIFF", save_all=True, append_images=[one])
    real = io.BytesIO()
    tifffile.imwrite(real, np.zeros((8, 8), np.float32))
    return {
        "cut.png": (png.getvalue()[:5000], "cannot be read"),
        "cut.jpg": (jpeg.getvalue()[:2000], "truncated"),
        "empty.png": (b"", "it is no image"),
        "text.jpg": (b"these are words", "it is no image"),
        "pages.tif": (many.getvalue(), "holds 2 pictures"),
        "real.tif": (real.getvalue(), "holds float32 values"),
    }


OPTIONS = REPOSITORY / "options"
FILES = sorted(path.relative_to(OPTIONS).as_posix() for path in OPTIONS.rglob("*.yml"))
ABLATIONS = [file for file in FILES if file.startswith("ablations/")]
RECIPES = [file for file in FILES if "demo" not in file and file not in ABLATIONS]
