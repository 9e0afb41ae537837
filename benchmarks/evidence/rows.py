"""What is compared: the tasks and the rows of the report's tables, as option files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

Options = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A network and its training.

    Attributes:
        title: what the table says of it.
        network: of `network_g`.
        contrast: of `train`: ConStyle's losses and its contrast; None for a training on the pixel
            loss alone.
        against: the row it is compared with; empty for the task's first.
        prompted: iterations under a prompter's frozen guidance, as ConStyle v2 trains; 0 for all
            others.
        rate: its learning rate; 0 for the task's.
    """

    title: str
    network: Options
    contrast: Options | None = field(default=None)
    against: str = ""
    prompted: int = 0
    rate: float = 0


def constyle(
    weight: float = 1,
    *,
    normalize: bool = True,
    queue_size: int = 4096,
    temperature: float = 0.07,
    **contrast: Any,
) -> Options:
    """ConStyle's three losses, all with the same weight, and its contrast."""
    return {
        "contrast": {"queue_size": queue_size, "normalize": normalize, **contrast},
        "contrastive_opt": {
            "type": "InfoNCELoss",
            "temperature": temperature,
            "loss_weight": weight,
        },
        "content_opt": {"type": "ContentLoss", "loss_weight": weight},
        "style_opt": {"type": "StyleLoss", "loss_weight": weight},
    }


CONV = {"type": "ConStyleConv", "dim": 16, "activation": "leaky_relu"}
PUBLISHED = {"encoder_initialization": "published"}
NAFNET = {
    "type": "ConStyleNAFNet",
    "dim": 16,
    "num_blocks_down": [1, 1, 1],
    "num_blocks_bottleneck": 1,
    "num_blocks_up": [1, 1, 1],
}
ORIGINAL = {
    "type": "NAFNet",
    "enc_blk_nums": [1, 1, 1],
    "middle_blk_num": 1,
    "dec_blk_nums": [1, 1, 1],
}
MORE_BLOCKS = {"num_blocks_down": [2, 1, 1], "num_blocks_up": [1, 1, 2]}
WITHOUT = {"use_features": False, "use_code": False}

SMALL = {
    "without": Row("the U-Net without ConStyle", CONV | WITHOUT),
    "pixel": Row("ConStyle, pixel loss alone", CONV),
    "published": Row("as published", CONV | PUBLISHED, constyle(normalize=False)),
    "weight1": Row("He initialization, L2-normalised codes", CONV, constyle()),
    "degraded": Row(
        "the same, the positive another crop of the degraded image",
        CONV,
        constyle(positive="degraded"),
    ),
    "weight0.1": Row("the same, ConStyle's losses × 0.1", CONV, constyle(0.1)),
    "weight0.01": Row("the same, × 0.01", CONV, constyle(0.01)),
    "weight0.001": Row("the same, × 0.001", CONV, constyle(0.001)),
    "wide": Row(
        "without ConStyle, as many parameters as with it",
        CONV | WITHOUT | {"dim": 28},
        rate=5e-4,  # at 1e-3 it diverged
    ),
    "time": Row("without ConStyle, as many operations as with it", CONV | WITHOUT | MORE_BLOCKS),
    "nafnet-without": Row(
        "ConStyle-NAFNet's U-Net without ConStyle", NAFNET | WITHOUT, against="nafnet-without"
    ),
    "narrow": Row(
        "NAFNet, as many parameters as that", ORIGINAL | {"width": 20}, against="nafnet-without"
    ),
    "originals": Row(
        "NAFNet, as many parameters as ConStyle-NAFNet",
        ORIGINAL | {"width": 39},
        against="nafnet-without",
    ),
    "nafnet-pixel": Row("ConStyle-NAFNet, pixel loss alone", NAFNET, against="nafnet-without"),
    "nafnet-weight1": Row(
        "ConStyle-NAFNet, He initialization, L2-normalised codes",
        NAFNET,
        constyle(),
        against="nafnet-without",
    ),
    "nafnet-degraded": Row(
        "the same, the positive another crop of the degraded image, losses × 0.1",
        NAFNET,
        constyle(0.1, positive="degraded"),
        against="nafnet-without",
    ),
}
FULL = {
    "nafnet": Row("NAFNet, as many parameters as ConStyle-NAFNet", {"type": "NAFNet", "width": 24}),
    "constyle-nafnet": Row(
        "ConStyle-NAFNet, as its recipe trains it", {"type": "ConStyleNAFNet"}, constyle()
    ),
}
PROMPTED = {
    "nafnet-v2": Row(
        "ConStyle v2's way, both stages in the time of the U-Net without ConStyle",
        NAFNET,
        against="nafnet-without",
        prompted=2200,
    ),
    "nafnet-v2more": Row(
        "ConStyle v2's way, the first stage in addition",
        NAFNET,
        against="nafnet-without",
        prompted=3000,
    ),
}
ROWS = SMALL | PROMPTED | FULL

PROMPTER = Row(
    "ConStyle v2's first stage",
    {"type": "Prompter", "num_classes": 3},
    constyle() | {"class_opt": {"type": "ClassLoss", "loss_weight": 1}},
)
"""Its classes are the degradations, as there are none of what the photographs show; the distance to
the classes of the clean images, which have no degradation, is left out."""
PROMPTER_ITERATIONS, PROMPTER_BATCH = 1000, 32


@dataclass(frozen=True)
class Task:
    """What is restored, and how long a network trains for it.

    Attributes:
        title: the heading of its table.
        train: options of the data set to train on; paths are relative to the folder of the
            trainings.
        held_out: options of photographs not trained on, degraded as those are.
        tests: options of the data sets to measure on, by name.
        luminance: whether PSNR is that of the luminance Y, else of RGB.
        rows: what is compared, the row to compare with first.
        iterations: of a training.
        rate: the learning rate; where nothing in a network normalises features, 1e-3 is too much
            for rain.
        gt_size, batch_size: of its crops.
        workers: processes that load them.
        compile: whether blocks are compiled.
    """

    title: str
    train: Options
    held_out: Options
    tests: Mapping[str, Options]
    luminance: bool
    rows: Sequence[str] = (*SMALL,)
    iterations: int = 2000
    rate: float = 5e-4
    gt_size: int = 64
    batch_size: int = 8
    workers: int = 0
    compile: bool = False


def noisy(root: str, sigma: Any) -> Options:
    """Clean images with noise added as they are read."""
    return {
        "type": "DegradedImageDataset",
        "dataroot_gt": f"data/{root}",
        "degradations": [{"type": "noise", "sigma": sigma}],
    }


def pairs(root: str, **names: str) -> Options:
    """Pairs of folders."""
    roots = {f"dataroot_{side}": f"data/{root}/{side}" for side in ("lq", "gt")}
    return {"type": "PairedRestorationDataset", **roots, **names}


def mixed(*sets: Options) -> Options:
    """Samples of each set, equally often."""
    return {"type": "MixedDataset", "sets": list(sets)}


BY_ROOM = {"lq_name": "{}_*", "gt_name": "{}"}
NOISE_TESTS = {f"sigma{sigma}": noisy("noise/test", sigma) for sigma in (15, 25, 50)}
RAIN_TESTS = {"Rain100L": pairs("rain/test")}
HAZE_TESTS = {"SOTS-indoor": pairs("haze/test", **BY_ROOM)}

TASKS = {
    "noise": Task(
        "Blind noise, σ from 0 to 50",
        train=noisy("noise/train", [0, 50]),
        held_out=noisy("noise/test", [0, 50]),
        tests=NOISE_TESTS,
        luminance=False,
        rate=1e-3,
    ),
    "rain": Task(
        "Rain",
        train=pairs("rain/train"),
        held_out=pairs("rain/test"),
        tests=RAIN_TESTS,
        luminance=True,
    ),
    "haze": Task(
        "Haze",
        train=pairs("haze/train", **BY_ROOM),
        held_out=pairs("haze/test", **BY_ROOM),
        tests=HAZE_TESTS,
        luminance=False,
        gt_size=96,
    ),
    "all": Task(
        "Noise, rain and haze, one network for all three",
        train=mixed(noisy("clean", [0, 50]), pairs("rain/train"), pairs("haze/train", **BY_ROOM)),
        held_out=mixed(
            noisy("noise/test", [0, 50]), pairs("rain/test"), pairs("haze/test", **BY_ROOM)
        ),
        tests={**NOISE_TESTS, **RAIN_TESTS, **HAZE_TESTS},
        luminance=False,
        rows=(*SMALL, *PROMPTED),
        iterations=3000,
    ),
    "full": Task(
        "Blind noise at full size",
        train=noisy("noise/train", [0, 50]),
        held_out=noisy("noise/test", [0, 50]),
        tests=NOISE_TESTS,
        luminance=False,
        rows=(*FULL,),
        iterations=640,
        rate=1e-3,
        gt_size=128,
        batch_size=32,
        workers=6,
        compile=True,
    ),
}


def has_code(row: Row) -> bool:
    """Whether a row's network computes ConStyle's code."""
    return row.network["type"].startswith("ConStyle") and row.network.get("use_code", True)


def latest(name: str) -> str:
    """What a finished training left, as a path relative to the folder of the trainings."""
    return f"experiments/{name}/models/net_g_latest.pth"


def prompting(task: Task, name: str, seed: int) -> Options:
    """The option file of a prompter's training, on the task's images."""
    task = replace(task, iterations=PROMPTER_ITERATIONS, batch_size=PROMPTER_BATCH)
    options = training(task, PROMPTER, name, seed)
    del options["train"]["pixel_opt"]
    return options | {"model_type": "PrompterModel"}


def training(task: Task, row: Row, name: str, seed: int, prompter: str = "") -> Options:
    """The option file of a training; `prompter` is the name of the one that guides it, of a row of
    ConStyle v2.
    """
    iterations, rate = row.prompted or task.iterations, row.rate or task.rate
    constant = iterations // 4
    second_crop = (row.contrast or {}).get("contrast", {}).get("positive") == "degraded"
    return {
        "name": name,
        "model_type": "ConStyleModel" if row.contrast or prompter else "RestorationModel",
        "scale": 1,
        "num_gpu": "auto",
        "manual_seed": seed,
        "datasets": {
            "train": {
                "name": "train",
                **task.train,
                "gt_size": task.gt_size,
                "batch_size_per_gpu": task.batch_size,
                "num_worker_per_gpu": task.workers,
                "dataset_enlarge_ratio": 100,
                **({"second_crop": True} if second_crop else {}),
            }
        },
        "network_g": row.network,
        "path": {
            "pretrain_network_g": None,
            "strict_load_g": True,
            "resume_state": None,
            **({"pretrain_constyle": latest(prompter)} if prompter else {}),
        },
        "train": {
            "total_iter": iterations,
            **({"constyle_iter": 0} if prompter else {}),
            "ema_decay": 0.995,
            "amp": "bf16",
            "compile": task.compile,
            "optim_g": {
                "type": "AdamW",
                "lr": rate,
                "weight_decay": 1e-4,
                "betas": [0.9, 0.999],
            },
            "scheduler": {
                "type": "CosineAnnealingRestartCyclicLR",
                "periods": [constant, iterations - constant],
                "restart_weights": [1, 1],
                "eta_mins": [rate, 1e-6],
            },
            "pixel_opt": {"type": "L1Loss", "loss_weight": 1, "reduction": "mean"},
            **(row.contrast or {}),
        },
        "logger": {"print_freq": 20, "save_checkpoint_freq": 1000, "use_tb_logger": False},
    }


def testing(task: Task, row: Row, name: str) -> Options:
    """The option file of a test of what `training` trained."""
    return {
        "name": name,
        "model_type": "RestorationModel",
        "scale": 1,
        "num_gpu": "auto",
        "manual_seed": 0,
        "datasets": {
            f"test_{number}": {"name": test, **options}
            for number, (test, options) in enumerate(task.tests.items())
        },
        "network_g": row.network,
        "path": {
            "pretrain_network_g": latest(name),
            "param_key_g": "params_ema",
            "strict_load_g": True,
        },
        "val": {
            "save_img": False,
            "amp": "bf16",
            "metrics": {
                "psnr": {
                    "type": "calculate_psnr",
                    "crop_border": 0,
                    "test_y_channel": task.luminance,
                }
            },
        },
    }
