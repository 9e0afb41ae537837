"""Writes the option files of this folder, of `test/` and of `ablations/`, and their JSON schema: `make options`.

Each file is complete, for a user to copy; what they have in common stands here once. `--check` writes nothing and fails
where a file is not what this program would write.
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import wrap
from typing import Any

from constyle_arch.data.preparation.catalogue import DATA_SETS
from constyle_arch.options import json_schema

HERE = Path(__file__).parent
SCHEMA = HERE / "schema.json"


@dataclass(frozen=True)
class Network:
    """A network and how it is trained.

    Args:
        title: what people call it.
        options: of `network_g`; the defaults, written out.
        batch_size: of the paper; `batch_size_of` has the tasks where it is another.
        guided: whether ConStyle guides it, and trains with it.
        prompted: whether its ConStyle is a trained prompter's and stays as it is, as in ConStyle v2.
    """

    title: str
    options: Mapping[str, Any]
    batch_size: int = 16
    guided: bool = True
    prompted: bool = False


@dataclass(frozen=True)
class Measured:
    """A data set to train or measure on: its name in results, and its options."""

    name: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Task:
    """What to restore.

    Args:
        title: what people call it.
        train: the data set to train on.
        val: data sets to validate on while training; the first decides which network is the best.
        test: the benchmarks.
        needs: the data sets' names in `basicsr prepare`.
        constyle_iter: iterations that ConStyle trains; None for all of them.
        guided_only: whether only networks that ConStyle guides have recipes for it.
    """

    title: str
    train: Measured
    val: tuple[Measured, ...]
    test: tuple[Measured, ...]
    needs: tuple[str, ...]
    constyle_iter: int | None = 250000
    guided_only: bool = False


RESTORMER_BLOCKS = {
    "num_refinement_blocks": 4,
    "heads": [1, 2, 4, 8],
    "ffn_expansion_factor": 2.66,
    "bias": False,
    "layer_norm_type": "WithBias",
}

NETWORKS = {
    "constyle_restormer": Network(
        "ConStyle-Restormer",
        {
            "type": "ConStyleRestormer",
            "dim": 48,
            "num_blocks_down": [4, 6, 6],
            "num_blocks_bottleneck": 8,
            "num_blocks_up": [6, 6, 4],
            **RESTORMER_BLOCKS,
        },
        batch_size=8,
    ),
    "constyle_nafnet": Network(
        "ConStyle-NAFNet",
        {
            "type": "ConStyleNAFNet",
            "dim": 48,
            "num_blocks_down": [7, 8, 9],
            "num_blocks_bottleneck": 9,
            "num_blocks_up": [9, 8, 7],
            "num_refinement_blocks": 0,
        },
    ),
    "constyle_maxim": Network(
        "ConStyle-MAXIM", {"type": "ConStyleMaxim", "dim": 32, "num_blocks_bottleneck": 2, "bias": False}
    ),
    "restormer": Network(
        "Restormer",
        {
            "type": "Restormer",
            "dim": 48,
            "num_blocks": [4, 6, 6, 8],
            **RESTORMER_BLOCKS,
        },
        batch_size=8,
        guided=False,
    ),
    "nafnet": Network(
        "NAFNet",
        {
            "type": "NAFNet",
            "width": 64,
            "enc_blk_nums": [5, 6, 7, 7],
            "middle_blk_num": 7,
            "dec_blk_nums": [5, 6, 7, 7],
        },
        guided=False,
    ),
    "maxim": Network("MAXIM-1S", {"type": "Maxim", "dim": 32, "num_blocks_bottleneck": 2, "bias": True}, guided=False),
}

NETWORKS["v2_conv"] = Network(
    "ConStyle-Conv",
    {
        "type": "ConStyleConv",
        "dim": 48,
        "num_blocks_down": [1, 1, 1],
        "num_blocks_bottleneck": 1,
        "num_blocks_up": [1, 1, 1],
    },
    prompted=True,
)

DEMO_NETWORK = {
    "type": "ConStyleRestormer",
    "dim": 16,
    "num_blocks_down": [1, 1, 2],
    "num_blocks_bottleneck": 2,
    "num_blocks_up": [2, 1, 1],
    "num_refinement_blocks": 1,
    "encoder_initialization": "published",
}
"""Published initialization and, in `demo_train_file`, codes as they are: what the demos were measured with."""


def pairs(name: str, part: str) -> Measured:
    """Pairs of a data set of the catalogue."""
    data_set = DATA_SETS[name]
    options = {
        "type": "PairedRestorationDataset",
        "dataroot_gt": data_set.lmdb(part, "gt"),
        "dataroot_lq": data_set.lmdb(part, "lq"),
    }
    return Measured(name, {**options, **_names(*data_set.splits[part].plan.names)})


def degraded(name: str, roots: list[str], *degradations: dict[str, Any]) -> Measured:
    """Clean images, degraded as they are read."""
    return Measured(
        name,
        {
            "type": "DegradedImageDataset",
            "dataroot_gt": roots if len(roots) > 1 else roots[0],
            "degradations": list(degradations),
        },
    )


def noisy(name: str, roots: list[str], sigma: Any) -> Measured:
    """Clean images with Gaussian noise added as they are read."""
    return degraded(name, roots, {"type": "noise", "sigma": sigma})


def mixed(name: str, *sets: Measured, weights: list[int]) -> Measured:
    """Samples of several data sets, as often as their weights say."""
    named = [{"name": one.name, **one.options} for one in sets]
    return Measured(name, {"type": "MixedDataset", "sets": named, "weights": weights})


def _names(lq: str, gt: str) -> dict[str, str]:
    return {} if lq == gt == "{}" else {"lq_name": lq, "gt_name": gt}


DFWB = ("DIV2K", "Flickr2K", "WED", "BSD")
"""What the paper's denoising trains on."""


def _denoise(title: str, sigma: Any, tested: tuple[int, ...], watched: int) -> Task:
    train, test = DFWB, ("CBSD68", "Urban100")

    def benchmark(name: str, level: int) -> Measured:
        return noisy(f"{name}-sigma{level}", [DATA_SETS[name].lmdb("test", "gt")], level)

    return Task(
        title,
        noisy("DFWB", [DATA_SETS[name].lmdb("train", "gt") for name in train], sigma),
        val=(benchmark("CBSD68", watched),),
        test=tuple(benchmark(name, level) for name in test for level in tested),
        needs=(*train, *test),
        constyle_iter=None,
    )


def _any() -> Task:
    """Seven tasks at a time; where the catalogue has no pairs, clean images are degraded."""
    roots, cbsd68 = [DATA_SETS[name].lmdb("train", "gt") for name in DFWB], [DATA_SETS["CBSD68"].lmdb("test", "gt")]

    def dark(*gamma: float) -> dict[str, Any]:
        return {"type": "low_light", "gamma": list(gamma) if len(gamma) > 1 else gamma[0]}

    sets = (
        noisy("noise", roots, [0, 50]),
        Measured("rain", pairs("Rain14000", "train").options),
        Measured("haze", pairs("OTS", "train").options),
        Measured("blur", pairs("GoPro", "train").options),
        degraded("jpeg", roots, {"type": "jpeg", "quality": [10, 60]}),
        degraded("snow", roots, {"type": "snow", "severity": {"choice": [1, 2, 3]}}),
        degraded("low_light", roots, dark(1.5, 4), {"type": "noise", "sigma": [0, 10]}),
    )
    measured = (
        noisy("CBSD68-sigma25", cbsd68, 25),
        pairs("Rain100L", "test"),
        pairs("SOTS", "test"),
        pairs("GoPro", "test"),
        degraded("CBSD68-jpeg20", cbsd68, {"type": "jpeg", "quality": 20}),
        degraded("CBSD68-snow2", cbsd68, {"type": "snow", "severity": 2}),
        degraded("CBSD68-dark", cbsd68, dark(2.5), {"type": "noise", "sigma": 5}),
    )
    return Task(
        "noise, rain, haze, blur, JPEG, snow and low light in one network",
        mixed("mixed", *sets, weights=[1] * 7),
        val=measured,
        test=measured,
        needs=(*DFWB, "Rain14000", "OTS", "GoPro", "CBSD68", "Rain100L", "SOTS"),
        guided_only=True,
    )


TASKS = {
    "denoise": _denoise("blind denoising (σ from 0 to 50)", [0, 50], (15, 25, 50), 25),
    **{f"denoise{sigma}": _denoise(f"denoising (σ {sigma})", sigma, (sigma,), sigma) for sigma in (15, 25, 50)},
    "deblur": Task(
        "deblurring",
        pairs("GoPro", "train"),
        val=(pairs("GoPro", "test"),),
        test=tuple(pairs(name, "test") for name in ("GoPro", "HIDE", "RealBlur-R", "RealBlur-J")),
        needs=("GoPro", "HIDE", "RealBlur-R", "RealBlur-J"),
    ),
    "derain": Task(
        "deraining",
        pairs("Rain14000", "train"),
        val=(pairs("Rain100L", "test"), pairs("Rain100H", "test")),
        test=(pairs("Rain100H", "test"), pairs("Rain100L", "test")),
        needs=("Rain14000", "Rain100H", "Rain100L"),
    ),
    "dehaze": Task(
        "dehazing",
        pairs("OTS", "train"),
        val=(pairs("SOTS", "test"),),
        test=(pairs("SOTS", "test"),),
        needs=("OTS", "SOTS"),
    ),
    "any": _any(),
}

COMMENTS = {
    "gt_size": "side of the crops",
    "num_gpu": "the GPU of each process if there is one, else the CPU; 0 for the CPU",
    "lq_name": "form of the degraded images' names: `{}` is what a pair has in common, `*` any text",
    "weights": "how often each set is drawn, relative to the others",
    "sigma": "standard deviation of the noise in 1/255; [low, high] is a range",
    "batch_size_per_gpu": "of each process; BatchNorm and the style loss see this many",
    "warmup_iter": "no warm-up",
    "periods": "3e-4 throughout the first period, a cosine down to 1e-6 over the second",
    "normalize": "L2-normalised codes in the contrast; published: false, with encoder_initialization: published",
    "constyle_iter": "ConStyle trains this many iterations and is frozen then; only the pixel loss remains",
    "metrics": "the first one, on the first data set, decides which network net_g_best.pth is",
}
"""What a line is followed by in a recipe."""


PROGRESSIVE = (
    "",
    "Restormer's own recipe has 300 000 iterations on 8 GPUs whose crops grow; in datasets.train:",
    "  gt_size: 384, batch_size_per_gpu: 8, gt_sizes: [128, 160, 192, 256, 320, 384],",
    "  mini_batch_sizes: [8, 5, 4, 2, 1, 1], iters: [92000, 64000, 48000, 36000, 36000, 24000]",
)


def batch_size_of(task_name: str, network_name: str) -> int:
    """The published batch size: both Restormers dehaze, and Restormer denoises blindly, with 16 instead of 8."""
    if task_name == "dehaze" or (task_name, network_name) == ("denoise", "restormer"):
        return 16
    return NETWORKS[network_name].batch_size


def train_options(task_name: str, network_name: str, name: str) -> dict[str, Any]:
    """The paper's recipe of a network for a task."""
    task, network = TASKS[task_name], NETWORKS[network_name]
    train: dict[str, Any] = {
        "total_iter": 703632,
        "warmup_iter": -1,
        "ema_decay": 0.999,
        "optim_g": _adamw(Literal("!!float 3e-4")),
        "scheduler": _cosine([243312, 460320], [0.0003, 0.000001]),
        "mixing_augs": {"mixup": False, "mixup_beta": 1.2, "use_identity": True},
    }
    if network.prompted:
        train["constyle_iter"] = 0
    elif network.guided:
        whole_run = (task_name, network_name) == ("deblur", "constyle_restormer")
        train |= {"constyle_iter": task.constyle_iter} if task.constyle_iter and not whole_run else {}
        train["contrast"] = {"queue_size": 65760, "momentum": 0.999, "normalize": True}
    train |= _losses(network.guided and not network.prompted)
    constyle = {"pretrain_constyle": "experiments/prompter/models/net_g_latest.pth"} if network.prompted else {}
    loader = {
        "gt_size": 128,
        "use_hflip": True,
        "use_rot": True,
        "num_worker_per_gpu": 8,
        "batch_size_per_gpu": batch_size_of(task_name, network_name),
        "dataset_enlarge_ratio": 1,
        "prefetch_mode": None,
        "pin_memory": True,
    }
    return {
        **_general(name, network.guided),
        "datasets": {"train": {"name": task.train.name, **task.train.options, **loader}, **_measured("val", task.val)},
        "network_g": network.options,
        "path": {"pretrain_network_g": None, **constyle, "strict_load_g": True, "resume_state": None},
        "train": train,
        "val": {"val_freq": Literal("!!float 1e4"), "save_img": False, "metrics": _metrics("psnr ssim psnr_y ssim_y")},
        "logger": {"print_freq": 200, "save_checkpoint_freq": Literal("!!float 1e4"), "use_tb_logger": True},
    }


def train_file(task_name: str, network_name: str) -> str:
    """The file of the paper's recipe of a network for a task."""
    task, network = TASKS[task_name], NETWORKS[network_name]
    name = f"{task_name}_{network_name}"
    needs = ", ".join(map(str.lower, task.needs))
    method = "the paper's recipe" if network.guided else "the original network, without ConStyle, in the paper's recipe"
    progressive = PROGRESSIVE if network_name == "restormer" else ()
    if task.guided_only:
        method = "the paper's recipe for one task"
    if network.prompted:
        method = "the second stage of ConStyle v2"
    return _file(
        f"{network.title} for {task.title}: {method}",
        f"(arXiv {'2406.18242' if network.prompted else '2402.15784, section 4.1'}).",
        *progressive,
        "",
        *wrap(
            f"Trains on {task.train.name}. `basicsr prepare` writes the data sets ({needs}) from their downloads, "
            "which datasets/README.md describes. Instead of an LMDB a folder of images will do as well.",
            width=108,
        ),
        "",
        f"  one process:   basicsr train -opt options/{name}.yml",
        f"  four GPUs:     torchrun --nproc-per-node 4 -m constyle_arch train -opt options/{name}.yml",
        "  afterwards:    --auto_resume resumes a run that was interrupted",
        f"  test:          basicsr test -opt options/test/{name}.yml",
        options=train_options(task_name, network_name, name),
        comments=COMMENTS,
    )


@dataclass(frozen=True)
class Ablation:
    """A row of a table of the paper, as what differs from the recipe.

    Args:
        title: what the row is.
        without: sections of `train` that are left out.
        network: what is added to `network_g`.
        contrast: what is added to `train.contrast`.
        contrastive: what is added to `train.contrastive_opt`.
    """

    title: str
    without: tuple[str, ...] = ()
    network: Mapping[str, Any] = field(default_factory=dict)
    contrast: Mapping[str, Any] = field(default_factory=dict)
    contrastive: Mapping[str, Any] = field(default_factory=dict)


def _usual_contrast(title: str, queue_size: int, weight: float = 1) -> Ablation:
    """The contrast of an earlier method: two crops of one degraded image, and a queue of keys."""
    return Ablation(
        title,
        without=("content_opt", "style_opt"),
        network={"use_features": False},
        contrast={"queue_size": queue_size, "positive": "degraded", "enqueue": "key"},
        contrastive={"loss_weight": weight},
    )


ABLATIONS = {
    "moco": _usual_contrast("the contrast of MoCo (arXiv 1911.05722), as in figure 3", 65536),
    "dasr": _usual_contrast("the contrast of DASR (arXiv 2104.00416), as in figure 3", 32 * 256),
    "airnet": _usual_contrast("the contrast of AirNet (CVPR 2022), as in figure 3", 16 * 256, weight=0.1),
    "pixel": Ablation("the pixel loss alone", ("contrastive_opt", "content_opt", "style_opt")),
    "no_contrastive": Ablation("no InfoNCE loss", ("contrastive_opt",)),
    "no_content": Ablation("no content loss", ("content_opt",)),
    "no_style": Ablation("no style loss", ("style_opt",)),
    "infonce": Ablation("InfoNCE alone of ConStyle's losses", ("content_opt", "style_opt")),
    "no_code": Ablation("ConStyle's features guide the network, its code does not", network={"use_code": False}),
    "no_features": Ablation("ConStyle's code guides the network, its features do not", network={"use_features": False}),
    "no_guide": Ablation(
        "neither ConStyle's features nor its code guide the network", network={"use_features": False, "use_code": False}
    ),
}
"""The rows of the paper's ablations; each has a file for each of `ABLATED`."""

ABLATED = ("derain", "denoise")


def ablation_file(task_name: str, row: str) -> str:
    """The recipe of ConStyle-NAFNet for a task, changed for a row of an ablation."""
    ablation, network = ABLATIONS[row], "constyle_nafnet"
    name = f"{task_name}_{row}"
    options = train_options(task_name, network, name)
    options["network_g"] = {**options["network_g"], **ablation.network}
    train = {key: value for key, value in options["train"].items() if key not in ablation.without}
    train["contrast"] = {**train["contrast"], **ablation.contrast}
    if "contrastive_opt" in train:
        train["contrastive_opt"] = {**train["contrastive_opt"], **ablation.contrastive}
    options["train"] = train
    if ablation.contrast.get("positive") == "degraded":
        options["datasets"]["train"]["second_crop"] = True
    forced = [
        f"basicsr test -opt options/test/{task_name}_{network}.yml --force_yml name={name}",
        f"path:pretrain_network_g=experiments/{name}/models/net_g_latest.pth",
        *(f"network_g:{key}={str(value).lower()}" for key, value in ablation.network.items()),
    ]
    return _file(
        f"{NETWORKS[network].title} for {TASKS[task_name].title}: {ablation.title}.",
        f"All else is as in options/{task_name}_{network}.yml, which also explains the options.",
        f"  basicsr train -opt options/ablations/{name}.yml",
        "  " + " \\\n#     ".join(forced),
        options=options,
        comments={
            "use_features": "whether ConStyle's features enter the network",
            "use_code": "whether ConStyle's code enters the network",
            "second_crop": "two crops of one degraded image are a positive pair",
            "positive": "the other crop, instead of the clean image",
            "enqueue": "the momentum encoder's codes enter the queue, instead of the degraded images'",
        },
    )


V2_DEGRADATIONS = [
    {
        "type": "one_of",
        "weights": [0.4, 0.6],
        "choices": [
            [{"type": "contrast", "factor": {"choice": [0.4, 0.3]}}, {"type": "snow", "severity": {"choice": [1, 2]}}],
            [{"type": "real_esrgan"}],
        ],
    }
]
"""Contrast and snow of ImageNet-C's severities 1 and 2, or Real-ESRGAN's chain."""


def prompter_file() -> str:
    """The first stage of ConStyle v2."""
    train, val = (
        Measured(
            f"ImageNet-{part}",
            {
                "type": "ClassifiedImageDataset",
                "dataroot_gt": f"datasets/ImageNet/{part}",
                "degradations": V2_DEGRADATIONS,
                "gt_size": 224,
            },
        )
        for part in ("train", "val")
    )
    loader = {"num_worker_per_gpu": 8, "batch_size_per_gpu": 32, "dataset_enlarge_ratio": 1, "pin_memory": True}
    losses = _losses(guided=True)
    options = {
        **_general("prompter", guided=True),
        "model_type": "PrompterModel",
        "datasets": {"train": {"name": train.name, **train.options, **loader}, **_measured("val", (val,))},
        "network_g": {"type": "Prompter", "num_classes": 1000},
        "path": {"pretrain_network_g": None, "strict_load_g": True, "resume_state": None},
        "train": {
            "total_iter": 400000,
            "ema_decay": 0.999,
            "optim_g": _adamw(Literal("!!float 3e-4")),
            "scheduler": {
                "type": "CosineAnnealingRestartCyclicLR",
                "periods": [400000],
                "restart_weights": [1],
                "eta_mins": [0.0001],
            },
            "class_iter": 50000,
            "kl_iter": 999999,
            "contrast": {"queue_size": 65760, "momentum": 0.999, "normalize": True},
            "class_opt": {"type": "ClassLoss", "loss_weight": 1},
            "kl_opt": {"type": "ClassDistanceLoss", "loss_weight": 1},
            **{name: loss for name, loss in losses.items() if name != "pixel_opt"},
        },
        "val": {"val_freq": Literal("!!float 1e4"), "save_img": False},
        "logger": {"print_freq": 200, "save_checkpoint_freq": Literal("!!float 1e4"), "use_tb_logger": True},
    }
    return _file(
        "The first stage of ConStyle v2 (arXiv 2406.18242): the prompter learns alone, on images with classes.",
        "",
        "datasets/ImageNet/train and datasets/ImageNet/val hold a folder of images for each class. Images of any other",
        "classes will do: set network_g.num_classes to their number.",
        "",
        "  basicsr train -opt options/prompter.yml",
        "  basicsr train -opt options/any_v2_conv.yml    the second stage: a network that this prompter guides",
        options=options,
        comments={
            "class_iter": "iterations with the loss of the degraded images' classes",
            "kl_iter": "iterations with the distance between the classes of degraded and clean images",
            "normalize": COMMENTS["normalize"],
            "batch_size_per_gpu": COMMENTS["batch_size_per_gpu"],
        },
    )


def test_file(task_name: str, network_name: str) -> str:
    """The benchmarks of a task, for what `train_file` trains."""
    task, network = TASKS[task_name], NETWORKS[network_name]
    name = f"{task_name}_{network_name}"
    options = {
        **_general(name, network.guided),
        "datasets": _measured("test", task.test),
        "network_g": network.options,
        "path": _trained(name),
        "val": {"save_img": False, "metrics": _metrics("psnr ssim psnr_y ssim_y")},
    }
    return _file(
        f"The benchmarks of {task.title}, for the network that options/{name}.yml trains.",
        f"  basicsr test -opt options/test/{name}.yml",
        "  basicsr compare results/ONE results/ANOTHER    puts the tables of several networks side by side",
        options=options,
    )


@dataclass(frozen=True)
class Training:
    """How a network that comes trained was trained, in hours on one core.

    Args:
        title: what it learns.
        train: the data set to train on.
        val: the data set to watch.
        test: the benchmarks.
        needs: the data sets' names in `basicsr prepare`.
        iterations: of the training; the rate is constant for the first `constant` of them.
        gt_size, batch_size: of the crops.
        rotations: whether crops are rotated.
        metrics: of the benchmarks.
        rate: the learning rate, as YAML has it.
        clip: the largest L2 norm of a step's gradients.
    """

    title: str
    train: Measured
    val: Measured
    test: tuple[Measured, ...]
    needs: tuple[str, ...]
    iterations: int
    constant: int
    gt_size: int = 64
    batch_size: int = 8
    rotations: bool = True
    metrics: str = "psnr ssim"
    rate: str = "8e-4"
    clip: float | None = None


TRAINED_NETWORK = {
    "type": "ConStyleConv",
    "dim": 32,
    "activation": "leaky_relu",
    "num_blocks_down": [2, 2, 1],
    "num_blocks_bottleneck": 1,
    "num_blocks_up": [1, 1, 2],
}

TRAINED = {
    "denoise": Training(
        "denoising (σ from 0 to 50)",
        noisy("CBSD432", [DATA_SETS["CBSD432"].lmdb("train", "gt")], [0, 50]),
        val=noisy("CBSD68-sigma25", [DATA_SETS["CBSD68"].lmdb("test", "gt")], 25),
        test=tuple(
            noisy(f"CBSD68-sigma{sigma}", [DATA_SETS["CBSD68"].lmdb("test", "gt")], sigma) for sigma in (15, 25, 50)
        ),
        needs=("CBSD432", "CBSD68"),
        iterations=13000,
        constant=3000,
    ),
    "derain": Training(
        "deraining (light rain)",
        pairs("Rain100L", "train"),
        val=pairs("Rain100L", "test"),
        test=(pairs("Rain100L", "test"),),
        needs=("Rain100L",),
        iterations=10000,
        constant=2000,
        rotations=False,
        metrics="psnr ssim psnr_y ssim_y",
    ),
    "dehaze": Training(
        "dehazing (indoors above all)",
        mixed(
            "SOTS-indoor",
            pairs("SOTS-indoor", "train"),
            degraded(
                "CBSD432",
                [DATA_SETS["CBSD432"].lmdb("train", "gt")],
                {"type": "haze", "beta": [0, 1.8], "airlight": [0.7, 1]},
            ),
            weights=[3, 1],
        ),
        val=pairs("SOTS-indoor", "test"),
        test=(pairs("SOTS-indoor", "test"),),
        needs=("SOTS-indoor", "CBSD432"),
        iterations=3300,
        constant=825,
        gt_size=256,
        batch_size=6,
        rotations=False,
        rate="4e-4",
        clip=1,
    ),
}
"""The networks that come trained, see `constyle_arch.checkpoints.trained`."""


def trained_train_file(task_name: str) -> str:
    """The training of a network that comes trained."""
    training, name = TRAINED[task_name], f"trained_{task_name}"
    loader = {
        "gt_size": training.gt_size,
        "use_hflip": True,
        "use_rot": training.rotations,
        "num_worker_per_gpu": 1,
        "batch_size_per_gpu": training.batch_size,
        "dataset_enlarge_ratio": 100,
    }
    options = {
        **_general(name, guided=True),
        "datasets": {
            "train": {"name": training.train.name, **training.train.options, **loader},
            **_measured("val", (training.val,)),
        },
        "network_g": TRAINED_NETWORK,
        "path": {"pretrain_network_g": None, "strict_load_g": True, "resume_state": None},
        "train": {
            "total_iter": training.iterations,
            "ema_decay": 0.999,
            "amp": "bf16",
            **({} if training.clip is None else {"grad_clip_norm": training.clip}),
            "optim_g": _adamw(Literal(f"!!float {training.rate}")),
            "scheduler": _cosine(
                [training.constant, training.iterations - training.constant], [float(training.rate), 0.000001]
            ),
            "contrast": {"queue_size": 4096, "normalize": True},
            **_losses(guided=True, weight=0.01),
        },
        "val": {"val_freq": 2000, "save_img": False, "pictures": 0, "metrics": _metrics("psnr")},
        "logger": {"print_freq": 100, "save_checkpoint_freq": 1000, "use_tb_logger": False},
    }
    return _file(
        f"The training of the network `{task_name}` that comes with the package: {training.title}.",
        f"  basicsr train -opt options/{name}.yml",
        f"  basicsr test -opt options/test/{name}.yml",
        "",
        f"`basicsr prepare` writes the data sets ({', '.join(map(str.lower, training.needs))});",
        "datasets/README.md says where they are from.",
        "`amp: bf16` is slow on processors that do not compute in bfloat16; leave it out there.",
        options=options,
    )


def trained_test_file(task_name: str) -> str:
    """The benchmarks of a network that comes trained."""
    training, name = TRAINED[task_name], f"trained_{task_name}"
    options = {
        **_general(name, guided=True),
        "datasets": _measured("test", training.test),
        "network_g": TRAINED_NETWORK,
        "path": {"pretrain_network_g": task_name, "strict_load_g": True},
        "val": {"save_img": False, "metrics": _metrics(training.metrics)},
    }
    return _file(
        f"The benchmarks of the network `{task_name}` that comes with the package.",
        f"  basicsr test -opt options/test/{name}.yml",
        "  basicsr test -opt FILE --force_yml path:pretrain_network_g=WEIGHTS    for a training of one's own",
        options=options,
    )


def demo_data(task_name: str, part: str) -> Measured:
    """The sample photographs of a task."""
    home = f"datasets/sample/{task_name}"
    gt, lq = f"{home}/test/gt", f"{home}/test/lq"
    if part == "train":
        gt, lq = f"{home}/prepared/train/gt.lmdb", f"{home}/prepared/train/lq.lmdb"
    if task_name == "denoise":
        return noisy("sample-denoise", [gt], 25)
    names = _names("{}_*_*" if task_name == "dehaze" else "{}_*", "{}")
    roots = {"type": "PairedRestorationDataset", "dataroot_gt": gt, "dataroot_lq": lq}
    return Measured(f"sample-{task_name}", {**roots, **names})


def demo_train_file(task_name: str) -> str:
    """A small network that learns the sample of a task in minutes on a CPU."""
    name = f"demo_{task_name}_constyle_restormer"
    sample = demo_data(task_name, "train")
    blurred = task_name == "deblur"  # what blur leaves is local: small crops, more of them; and it has a direction
    total_iter, constant = (900, 300) if blurred else (600, 200)
    loader = {
        "gt_size": 64 if blurred else 128,
        "use_hflip": True,
        "use_rot": not blurred,
        "num_worker_per_gpu": 1,
        "batch_size_per_gpu": 8 if blurred else 4,
        "dataset_enlarge_ratio": 80 if task_name == "denoise" else 20,
    }
    options = {
        **_general(name, guided=True),
        "datasets": {
            "train": {"name": sample.name, **sample.options, **loader},
            **_measured("val", (demo_data(task_name, "test"),)),
        },
        "network_g": DEMO_NETWORK,
        "path": {"pretrain_network_g": None, "strict_load_g": True, "resume_state": None},
        "train": {
            "total_iter": total_iter,
            "ema_decay": 0.99,
            "optim_g": _adamw(Literal("!!float 1e-3")),
            "scheduler": _cosine([constant, total_iter - constant], [0.001, 0.00001]),
            "constyle_iter": 2 * constant,
            "contrast": {"queue_size": 1024, "normalize": False},
            **_losses(guided=True),
        },
        "val": {"val_freq": 200, "save_img": False, "metrics": _metrics("psnr ssim")},
        "logger": {"print_freq": 50, "save_checkpoint_freq": 200, "use_tb_logger": True},
    }
    return _file(
        f"The demo: a small ConStyle-Restormer learns to {task_name} the sample photographs, in minutes, on two cores.",
        f"  basicsr prepare sample {task_name}",
        f"  basicsr train -opt options/{name}.yml",
        f"  basicsr test -opt options/test/{name}.yml",
        f"For the paper's recipe see options/{task_name}_constyle_restormer.yml, which also explains the options.",
        options=options,
    )


def demo_test_file(task_name: str) -> str:
    """The held-out photographs of a task's sample."""
    name = f"demo_{task_name}_constyle_restormer"
    options = {
        **_general(name, guided=True),
        "datasets": _measured("test", (demo_data(task_name, "test"),)),
        "network_g": DEMO_NETWORK,
        "path": _trained(name),
        "val": {"save_img": True, "save_comparison": True, "metrics": _metrics("psnr ssim psnr_y ssim_y")},
    }
    return _file(
        "Restores and scores the held-out sample photographs with the network the demo trained.",
        f"  basicsr test -opt options/test/{name}.yml",
        options=options,
    )


def all_files() -> dict[Path, str]:
    """Every option file's path and text."""
    files = {}
    for task in TASKS:
        for network in NETWORKS:
            of_mixed = TASKS[task].guided_only
            if (of_mixed and not NETWORKS[network].guided) or (NETWORKS[network].prompted and not of_mixed):
                continue
            files[HERE / f"{task}_{network}.yml"] = train_file(task, network)
            files[HERE / "test" / f"{task}_{network}.yml"] = test_file(task, network)
    files[HERE / "prompter.yml"] = prompter_file()
    for task in ABLATED:
        for row in ABLATIONS:
            files[HERE / "ablations" / f"{task}_{row}.yml"] = ablation_file(task, row)
    for task in ("denoise", "deblur", "derain", "dehaze"):
        files[HERE / f"demo_{task}_constyle_restormer.yml"] = demo_train_file(task)
        files[HERE / "test" / f"demo_{task}_constyle_restormer.yml"] = demo_test_file(task)
    for task in TRAINED:
        files[HERE / f"trained_{task}.yml"] = trained_train_file(task)
        files[HERE / "test" / f"trained_{task}.yml"] = trained_test_file(task)
    return {SCHEMA: json_schema.text(), **{path: _for_editors(path) + text for path, text in files.items()}}


def _for_editors(path: Path) -> str:
    """The line by which an editor finds the schema of the file."""
    place = SCHEMA.name if path.parent == SCHEMA.parent else f"../{SCHEMA.name}"
    return f"# yaml-language-server: $schema={place}\n"


# Sections that several files share.


def _general(name: str, guided: bool) -> dict[str, Any]:
    model = "ConStyleModel" if guided else "RestorationModel"
    return {"name": name, "model_type": model, "scale": 1, "num_gpu": "auto", "manual_seed": 100}


def _measured(phase: str, sets: tuple[Measured, ...]) -> dict[str, Any]:
    keys = [phase] if len(sets) == 1 else [f"{phase}_{number}" for number in range(1, len(sets) + 1)]
    return {key: {"name": one.name, **one.options} for key, one in zip(keys, sets, strict=True)}


def _trained(name: str) -> dict[str, Any]:
    """The network of an experiment: its best, or else its last; its average is taken where there is one."""
    return {"pretrain_network_g": f"experiments/{name}", "strict_load_g": True}


def _adamw(rate: "Literal") -> dict[str, Any]:
    return {"type": "AdamW", "lr": rate, "weight_decay": Literal("!!float 1e-4"), "betas": [0.9, 0.999]}


def _cosine(periods: list[int], floors: list[float]) -> dict[str, Any]:
    return {
        "type": "CosineAnnealingRestartCyclicLR",
        "periods": periods,
        "restart_weights": [1, 1],
        "eta_mins": floors,
    }


def _losses(guided: bool, weight: float = 1) -> dict[str, Any]:
    pixel = {"pixel_opt": {"type": "L1Loss", "loss_weight": 1, "reduction": "mean"}}
    if not guided:
        return pixel
    return {
        **pixel,
        "contrastive_opt": {"type": "InfoNCELoss", "temperature": 0.07, "loss_weight": weight},
        "content_opt": {"type": "ContentLoss", "loss_weight": weight},
        "style_opt": {"type": "StyleLoss", "loss_weight": weight},
    }


def _metrics(names: str) -> dict[str, Any]:
    return {
        name: {"type": f"calculate_{name[:4]}", "crop_border": 0, "test_y_channel": name.endswith("_y")}
        for name in names.split()
    }


# Writing YAML with comments.


class Literal(str):
    """Text that stands in the file as it is."""


def _file(*header: str, options: Mapping[str, Any], comments: Mapping[str, str] | None = None) -> str:
    lines = [
        f"# {line}".rstrip() for line in (*header, "", "Written by options/generate.py; copy it and change the copy.")
    ]
    for key, value in options.items():
        if isinstance(value, Mapping):
            lines.append("")
        lines += _lines(key, value, 0, comments or {})
    first_setting = lines.index(f"name: {options['name']}")
    return "\n".join([*lines[:first_setting], "", *lines[first_setting:]]) + "\n"


def _lines(key: str, value: Any, depth: int, comments: Mapping[str, str]) -> list[str]:
    comment = f"  # {comments[key]}" if key in comments else ""
    start = f"{'  ' * depth}{key}:"
    if isinstance(value, Mapping):
        return [f"{start}{comment}", *(line for k, v in value.items() for line in _lines(k, v, depth + 1, comments))]
    if isinstance(value, list) and any(isinstance(item, Mapping | str | list) for item in value):
        return [f"{start}{comment}", *(f"{'  ' * (depth + 1)}{line}" for line in _items(value, comments))]
    return [f"{start} {_scalar(value)}{comment}"]


def _items(values: list[Any], comments: Mapping[str, str]) -> list[str]:
    """The lines of a list: an item each, and more where it holds mappings or lists."""
    lines = []
    for item in values:
        if isinstance(item, Mapping):
            inner = [line for key, value in item.items() for line in _lines(key, value, 0, comments)]
        else:
            inner = _items(item, comments) if isinstance(item, list) else [item]
        lines += [f"{'  ' if number else '- '}{line}" for number, line in enumerate(inner)]
    return lines


def _scalar(value: Any) -> str:
    if value is None:
        return "~"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_scalar, value))}]"
    if isinstance(value, float):
        return f"{value:f}".rstrip("0")
    if isinstance(value, str) and not isinstance(value, Literal) and any(character in value for character in "{}*"):
        return f"'{value}'"
    return str(value)


def main() -> int:
    """Write the files, or with `--check` compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file differs")
    check = parser.parse_args().check
    files = all_files()
    there = {*HERE.rglob("*.yml"), *HERE.glob(SCHEMA.name)}
    stale = sorted(there - set(files))
    different = [path for path, text in files.items() if path not in there or path.read_text(encoding="utf-8") != text]
    if check:
        for path in (*stale, *different):
            print(f"{path.relative_to(HERE.parent)} is not what options/generate.py writes; run `make options`.")
        return 1 if stale or different else 0
    for path in stale:
        path.unlink()
    for path in different:
        path.parent.mkdir(exist_ok=True)
        path.write_text(files[path], encoding="utf-8")
    print(f"{len(files)} files, {len(different)} of them written, {len(stale)} removed.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
