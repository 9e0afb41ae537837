"""Writes the option files of this folder, of `test/` and of `ablations/`, and their JSON schema:
`make options`.

Each file is complete, for a user to copy; what they have in common stands here once. `--check`
writes nothing and fails where a file is not what this program would write.
"""

import argparse
import sys
from itertools import product
from pathlib import Path
from textwrap import fill
from typing import Any

from networks import ABLATED, ABLATIONS, NETWORKS
from parts import ALL_METRICS, adamw, logger, losses, metrics, test, training
from small import TRAINED, demo_files, trained_files
from tasks import TASKS, DataSet
from writing import file_text, keys

from constyle_arch.options import json_schema

HERE = Path(__file__).parent
SCHEMA = HERE / "schema.json"

COMMENTS = {
    "gt_size": "side of the crops",
    "num_gpu": "the GPU of each process if there is one, else the CPU; 0 for the CPU",
    "lq_name": "form of the degraded images' names: `{}` is what a pair has in common, `*` any "
    "text",
    "weights": "how often each set is drawn, relative to the others",
    "sigma": "standard deviation of the noise in 1/255; [low, high] is a range",
    "batch_size_per_gpu": "of each process; BatchNorm and the style loss see this many",
    "warmup_iter": "no warm-up",
    "periods": "3e-4 throughout the first period, a cosine down to 1e-6 over the second",
    "normalize": "L2-normalised codes in the contrast; published: false, with "
    "encoder_initialization: published",
    "constyle_iter": "ConStyle trains this many iterations and is frozen then; only the pixel loss "
    "remains",
    "metrics": "the first one, on the first data set, decides which network net_g_best.pth is",
}
"""What a line is followed by in a recipe."""

OF_ABLATIONS = {
    "use_features": "whether ConStyle's features enter the network",
    "use_code": "whether ConStyle's code enters the network",
    "second_crop": "two crops of one degraded image are a positive pair",
    "positive": "the other crop, instead of the clean image",
    "enqueue": "the momentum encoder's codes enter the queue, instead of the degraded images'",
}

OF_THE_PROMPTER = {
    "class_iter": "iterations with the loss of the degraded images' classes",
    "kl_iter": "iterations with the distance between the classes of degraded and clean images",
    "normalize": COMMENTS["normalize"],
    "batch_size_per_gpu": COMMENTS["batch_size_per_gpu"],
}

CONTRAST = keys("queue_size: 65760, momentum: 0.999, normalize: true")


# The paper's recipes.


def recipe(task_name: str, network_name: str, name: str) -> dict[str, Any]:
    """The paper's recipe of a network for a task."""
    task, network = TASKS[task_name], NETWORKS[network_name]
    train: dict[str, Any] = {
        "total_iter": 703632,
        "warmup_iter": -1,
        "ema_decay": 0.999,
        **adamw("3e-4", 243312, 460320, floors=[0.0003, 0.000001]),
        "mixing_augs": keys("mixup: false, mixup_beta: 1.2, use_identity: true"),
    }
    if network.prompted:
        train["constyle_iter"] = 0
    elif network.guided:
        whole_run = (task_name, network_name) == ("deblur", "constyle_restormer")
        if task.constyle_iter and not whole_run:
            train["constyle_iter"] = task.constyle_iter
        train["contrast"] = CONTRAST
    train |= losses(1 if network.guided and not network.prompted else None)
    batch_size = network.batch_size
    if task_name == "dehaze" or (task_name, network_name) == ("denoise", "restormer"):
        batch_size = 16  # published: both Restormers dehaze so, and Restormer denoises blindly
    loader = {
        **keys("gt_size: 128, use_hflip: true, use_rot: true, num_worker_per_gpu: 8"),
        "batch_size_per_gpu": batch_size,
        **keys("dataset_enlarge_ratio: 1, prefetch_mode: ~, pin_memory: true"),
    }
    prompter = {"pretrain_constyle": "experiments/prompter/models/net_g_latest.pth"}
    return training(
        name,
        network.options,
        task.train,
        task.val,
        loader,
        weights=prompter if network.prompted else None,
        model_type="ConStyleModel" if network.guided else "RestorationModel",
        train=train,
        val={"val_freq": "!!float 1e4", "save_img": False, "metrics": metrics(ALL_METRICS)},
        logger=logger(200, "!!float 1e4"),
    )


PROGRESSIVE = """

Restormer's own recipe has 300 000 iterations on 8 GPUs whose crops grow; in datasets.train:
  gt_size: 384, batch_size_per_gpu: 8, gt_sizes: [128, 160, 192, 256, 320, 384],
  mini_batch_sizes: [8, 5, 4, 2, 1, 1], iters: [92000, 64000, 48000, 36000, 36000, 24000]"""

RECIPE = """\
{network.title} for {task.title}: {method}
(arXiv {paper}).{more}

{data}

  one process:   basicsr train -opt options/{name}.yml
  four GPUs:     torchrun --nproc-per-node 4 -m constyle_arch train -opt options/{name}.yml
  afterwards:    --auto_resume resumes a run that was interrupted
  test:          basicsr test -opt options/test/{name}.yml
"""

DATA = (
    "Trains on {}. `basicsr prepare` writes the data sets ({}) from their downloads, which "
    "datasets/README.md describes. Instead of an LMDB a folder of images will do as well."
)

BENCHMARKS = """\
The benchmarks of {task.title}, for the network that options/{name}.yml trains.
  basicsr test -opt options/test/{name}.yml
  basicsr compare results/ONE results/ANOTHER    puts the tables of several networks side by side
"""


def recipe_files(task_name: str, network_name: str) -> dict[str, str]:
    """The paper's recipe of a network for a task, and the benchmarks of what it trains."""
    task, network = TASKS[task_name], NETWORKS[network_name]
    name = f"{task_name}_{network_name}"
    if network.prompted:
        method = "the second stage of ConStyle v2"
    elif task.guided_only:
        method = "the paper's recipe for one task"
    elif network.guided:
        method = "the paper's recipe"
    else:
        method = "the original network, without ConStyle, in the paper's recipe"
    needs = ", ".join(map(str.lower, task.needs))
    header = RECIPE.format(
        name=name,
        network=network,
        task=task,
        method=method,
        paper="2406.18242" if network.prompted else "2402.15784, section 4.1",
        more=PROGRESSIVE if network_name == "restormer" else "",
        data=fill(DATA.format(task.train.name, needs), width=108),
    )
    model = "ConStyleModel" if network.guided else "RestorationModel"
    val = {"save_img": False, "metrics": metrics(ALL_METRICS)}
    measured = test(name, network.options, task.test, val, model_type=model)
    return {
        f"{name}.yml": file_text(header, recipe(task_name, network_name, name), COMMENTS),
        f"test/{name}.yml": file_text(BENCHMARKS.format(name=name, task=task), measured),
    }


def ablation_file(task_name: str, row: str) -> str:
    """The recipe of ConStyle-NAFNet for a task, changed for a row of an ablation."""
    ablation, network = ABLATIONS[row], "constyle_nafnet"
    name = f"{task_name}_{row}"
    options = recipe(task_name, network, name)
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
    lines = (
        f"{NETWORKS[network].title} for {TASKS[task_name].title}: {ablation.title}.",
        f"All else is as in options/{task_name}_{network}.yml, which also explains the options.",
        f"  basicsr train -opt options/ablations/{name}.yml",
        "  " + " \\\n    ".join(forced),
    )
    return file_text("\n".join(lines), options, OF_ABLATIONS)


V2_DEGRADATIONS = keys(
    "type: one_of, weights: [0.4, 0.6], choices: ["
    "[{type: contrast, factor: {choice: [0.4, 0.3]}}, {type: snow, severity: {choice: [1, 2]}}], "
    "[{type: real_esrgan}]]"
)
"""Contrast and snow of ImageNet-C's severities 1 and 2, or Real-ESRGAN's chain."""


PROMPTER = """\
The first stage of ConStyle v2 (arXiv 2406.18242): the prompter learns alone, on images with
classes.

datasets/ImageNet/train and datasets/ImageNet/val hold a folder of images for each class. Images of
any other classes will do: set network_g.num_classes to their number.

  basicsr train -opt options/prompter.yml
  basicsr train -opt options/any_v2_conv.yml    the second stage: a network that it guides
"""


def prompter_file() -> str:
    """The first stage of ConStyle v2."""
    train, val = (
        DataSet(
            f"ImageNet-{part}",
            {
                "type": "ClassifiedImageDataset",
                "dataroot_gt": f"datasets/ImageNet/{part}",
                "degradations": [V2_DEGRADATIONS],
                "gt_size": 224,
            },
        )
        for part in ("train", "val")
    )
    of_codes = {name: loss for name, loss in losses().items() if name != "pixel_opt"}
    options = training(
        "prompter",
        {"type": "Prompter", "num_classes": 1000},
        train,
        (val,),
        keys("num_worker_per_gpu: 8, batch_size_per_gpu: 32")
        | keys("dataset_enlarge_ratio: 1, pin_memory: true"),
        model_type="PrompterModel",
        train={
            "total_iter": 400000,
            "ema_decay": 0.999,
            **adamw("3e-4", 400000, floors=[0.0001]),
            "class_iter": 50000,
            "kl_iter": 999999,
            "contrast": CONTRAST,
            "class_opt": {"type": "ClassLoss", "loss_weight": 1},
            "kl_opt": {"type": "ClassDistanceLoss", "loss_weight": 1},
            **of_codes,
        },
        val={"val_freq": "!!float 1e4", "save_img": False},
        logger=logger(200, "!!float 1e4"),
    )
    return file_text(PROMPTER, options, OF_THE_PROMPTER)


# All files.


def all_files() -> dict[Path, str]:
    """Every option file's path and text."""
    files = {"prompter.yml": prompter_file()}
    for task_name, task in TASKS.items():
        for network_name, network in NETWORKS.items():
            guided_as_wanted = network.guided or not task.guided_only
            if guided_as_wanted and (task.guided_only or not network.prompted):
                files |= recipe_files(task_name, network_name)
    for task_name, row in product(ABLATED, ABLATIONS):
        files[f"ablations/{task_name}_{row}.yml"] = ablation_file(task_name, row)
    for task_name in ("denoise", "deblur", "derain", "dehaze"):
        files |= demo_files(task_name)
    for task_name in TRAINED:
        files |= trained_files(task_name)
    for_editors = "# yaml-language-server: $schema="
    texts = {
        HERE / name: f"{for_editors}{'../' * name.count('/')}{SCHEMA.name}\n{text}"
        for name, text in files.items()
    }
    return {SCHEMA: json_schema.text(), **texts}


def main() -> int:
    """Write the files, or with `--check` compare them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = "write nothing; fail where a file differs"
    parser.add_argument("--check", action="store_true", help=what)
    check = parser.parse_args().check
    files = all_files()
    there = {*HERE.rglob("*.yml"), *HERE.glob(SCHEMA.name)}
    stale = sorted(there - set(files))
    different = [
        path
        for path, text in files.items()
        if path not in there or path.read_text(encoding="utf-8") != text
    ]
    if check:
        for path in (*stale, *different):
            name = path.relative_to(HERE.parent)
            print(f"{name} is not what options/generate.py writes; run `make options`.")
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
