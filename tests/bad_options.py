"""Options that cannot be run, and what a user reads.

`golden/bad_options.txt` has the messages word for word, by which `test_options.py` checks them;
`python -m tests.bad_options` writes it.
"""

import copy
import re
import tempfile
from pathlib import Path
from typing import Any

import torch

import constyle_arch
from constyle_arch.errors import OptionsError
from constyle_arch.options.preflight import check_options
from constyle_arch.options.reading import complete_datasets
from tests.shared import training_options, write_pairs

MESSAGES = Path(__file__).parent / "golden" / "bad_options.txt"


def broken(options, path, value):
    """`options` with the value at `path` (keys joined by dots) replaced, or removed for the value
    `...`."""
    options = copy.deepcopy(options)
    *parents, last = path.split(".")
    place = options
    for key in parents:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return options


BROKEN: list[tuple[str, Any, str]] = [
    ("num_gpu", ..., "num_gpu is missing"),
    ("num_gpu", 1, "finds no GPU"),
    ("num_gpu", "all", "num_gpu is 'all'; it must be auto, or a whole number"),
    ("name", ..., "name is missing"),
    ("train", ..., "train is missing"),
    ("datasets", ..., "datasets is missing"),
    ("datasets.train", ..., "datasets.train is missing"),
    (
        "network_g.type",
        "ConStyleRestorme",
        "network_g.type is 'ConStyleRestorme', which is not registered",
    ),
    ("network_g.dim", 7, "dim is 7"),
    ("network_g.dmi", 8, "unexpected keyword argument 'dmi'"),
    ("model_type", "NoModel", "model_type is 'NoModel'"),
    ("datasets.train.type", "NoData", "datasets.train.type is 'NoData'"),
    ("datasets.train.gt_size", 400, "smaller than the crops of gt_size 400"),
    ("datasets.train.batch_size_per_gpu", 0, "batch_size_per_gpu is 0"),
    ("datasets.train.batch_size_per_gpu", 1, "at least 2 images"),
    ("datasets.train.num_worker_per_gpu", None, "num_worker_per_gpu is None"),
    ("train.total_iter", "many", "train.total_iter is 'many'"),
    ("train.optim_g.type", "AdmaW", "train.optim_g.type is 'AdmaW'"),
    ("train.optim_g.lr", "fast", "train.optim_g.lr is 'fast'; it must be a number above 0"),
    ("train.scheduler.type", "Cosine", "train.scheduler.type is 'Cosine'"),
    ("train.scheduler.periods", [1, 1], "end after 2 of 4 iterations"),
    ("train.scheduler.eta_mins", [1], "must be of one length"),
    ("train.style_opt.patch", 2, "train.style_opt: "),
    (
        "train.contrast",
        {"queue_sise": 3},
        "queue_sise is not an option that is read; did you mean queue_size?",
    ),
    ("train.contrast", {"positive": "dirty"}, "train.contrast.positive is 'dirty'"),
    (
        "train.contrast",
        {"enqueue": "keys"},
        "train.contrast.enqueue is 'keys'; it must be query or key, or left out",
    ),
    ("train.contrast", {"positive": "degraded"}, "needs datasets.train.second_crop"),
    ("train.contrast", {"momentum": 3}, "momentum is 3"),
    ("train.mixing_augs", {"mixup": True, "beta": 1}, "train.mixing_augs.beta is not an option"),
    (
        "network_g",
        {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3},
        "train it with model_type RestorationModel",
    ),
    ("datasets.train", [1], "datasets.train is [1]; it must be a section"),
    ("datasets", [1], "datasets is [1]; it must be a section"),
    ("datasets.train.batch_size_per_gpu", 4.0, "without a decimal point"),
    ("datasets.train.dataset_enlarge_ratio", 0, "dataset_enlarge_ratio is 0"),
    (
        "datasets.train.dataset_enlarge_ratio",
        1e8,
        "their order is drawn at once, so it must be at most 5000000",
    ),
    ("datasets.train.prefetch_mode", "gpu", "prefetch_mode is 'gpu'"),
    (
        "datasets.val_2",
        {"name": "pairs", "type": "PairedImageDataset"},
        "two sets to measure on called 'pairs'",
    ),
    ("manual_seed", "x", "manual_seed is 'x'"),
    ("train.ema_decay", "x", "train.ema_decay is 'x'"),
    ("train.constyle_iter", "abc", "train.constyle_iter is 'abc'"),
    ("train.grad_clip_norm", 0, "train.grad_clip_norm is 0"),
    ("train.contrast", "x", "train.contrast is 'x'"),
    ("train.optim_g", "AdamW", "train.optim_g is 'AdamW'"),
    ("train.optim_g.type", "LBFGS", "train.optim_g: "),
    ("train.scheduler", "x", "train.scheduler is 'x'"),
    ("train.scheduler", {"type": "ReduceLROnPlateau"}, "train.scheduler: "),
    ("train.scheduler.periods", 100, "train.scheduler: "),
    ("datasets.train.prefetch_mode", "cpu", "random numbers would depend on timing"),
    ("train.total_iter", 1e300, "train.total_iter is 1e+300"),
    ("name", "é" * 150, "it must be a folder's name"),
    ("val.metrics", {1: {"type": "calculate_psnr", "crop_border": 0}}, "the name must be text"),
    ("train.warmup_iter", 1.5, "train.warmup_iter is 1.5"),
    ("train.max_skipped_steps", 0, "train.max_skipped_steps is 0"),
    ("train.amp", "half", "train.amp is 'half'; it must be off, bf16 or fp16"),
    ("train.amp", "fp16", "which CPUs compute no faster"),
    ("train.channels_last", 1, "train.channels_last is 1"),
    ("train.compile", "yes", "train.compile is 'yes'"),
    ("train.checkpointing", "all", "train.checkpointing is 'all'"),
    ("train.accumulate", 0, "train.accumulate is 0"),
    ("train.accumulate", 3, "each part must be of one size and have at least 2 images"),
    ("train.accumulate", 4, "each part must be of one size and have at least 2 images"),
    ("val.tile", 0, "val.tile is 0"),
    ("val.tile", 24, "overlap is 32 for tiles of 24 pixels"),
    ("val.amp", "int8", "val.amp is 'int8'"),
    ("val.suffix", "../x", "val.suffix is '../x'"),
    ("val.metrics", {"image": {"type": "calculate_psnr", "crop_border": 0}}, "choose another name"),
    ("datasets.val.name", "a|b", "must be without |"),
    ("datasets.train.lq_name", "rain", "must hold the same number of {}"),
    ("datasets.train.dataroot_lq", ["a"], "dataroot_lq is ['a']; it must be text"),
    ("datasets.train.dataroot_lq", "a", "dataroot_lq: the folder a does not exist"),
    (
        "datasets.val.dataroot_gt",
        "datasets/GoPro/prepared/test/gt.lmdb",
        "`basicsr prepare gopro` writes it",
    ),
    ("train.mixing_augs", {"mixup": "false"}, "train.mixing_augs.mixup is 'false'"),
    ("train.pixel_opt", None, "no loss of the restored image"),
    ("train", {"pixel_opt": None, "constyle_iter": 0}, "no loss of the restored image"),
    ("val.metrics.psnr", "calculate_psnr", "val.metrics.psnr is 'calculate_psnr'"),
    ("val.metrics.psnr.crop_border", ..., "crop_border"),
    ("val.metrics.psnr.crop_border", 10000, "leaves nothing of images of 48×40 pixels"),
    (
        "val.metrics.psnr",
        {"type": "calculate_niqe", "crop_border": 0},
        "it cannot score images of 48×40 pixels",
    ),
    ("path.pretrain_network_g", 5, "path.pretrain_network_g is 5"),
    ("name", "../precious", "name is '../precious'; it must be a folder's name"),
    ("name", "", "name is ''"),
    ("datasets.val.name", "../up", "datasets.val.name is '../up'"),
    (
        "path.pretrain_netwrk_g",
        None,
        "path.pretrain_netwrk_g is not an option that is read; did you mean pretrain_network_g?",
    ),
    ("manual_sed", 5, "manual_sed is not an option that is read; did you mean manual_seed?"),
    ("trian", {}, "trian is not an option that is read; did you mean train?"),
    ("train.ema_deacy", 0.9, "did you mean ema_decay?"),
    ("train.constyle_itr", 2, "did you mean constyle_iter?"),
    ("datasets.train.use_hfilp", True, "did you mean use_hflip?"),
    ("logger.save_ckpt_freq", 5, "did you mean save_checkpoint_freq?"),
    ("train.optim_g.lr", ..., "train.optim_g.lr is missing"),
    ("train.pixel_opt.reduction", "none", "train.pixel_opt: it does not give a single number"),
    ("train.pix_opt", {"type": "L1Loss"}, "both logged as l_pix"),
    ("train.my_opt", "L1Loss", "train.my_opt is 'L1Loss'"),
    ("train.my_opt", {"type": "WeightedL1"}, "train.my_opt.type is 'WeightedL1'"),
    ("val.metrics.psnr.better", "lowr", "better is 'lowr'"),
    ("manual_seed", -5, "manual_seed is -5"),
    ("network_g", {"type": "ConStyle"}, "it does not turn an image into one of the same size"),
    ("train.style_opt.type", "Style", "train.style_opt.type is 'Style'"),
    ("logger.print_freq", ..., "logger.print_freq is missing"),
    ("val.metrics.psnr.type", "psnr", "val.metrics.psnr.type is 'psnr'"),
    ("val.val_freq", 0, "val.val_freq is 0"),
    ("path.pretrain_network_g", "no.pth", "the file no.pth does not exist"),
]

NAMES = {"MultiStepLR": "MultiStepRestartLR", "StepLR": "StepLR"}  # what BasicSR makes of them
for scheduler in NAMES:
    value = {
        "type": scheduler,
        **({"milestones": [2]} if scheduler == "MultiStepLR" else {"step_size": 2}),
    }
    BROKEN.append(
        (
            "train",
            {"scheduler": value, "warmup_iter": 2},
            f"train.warmup_iter is 2, but {NAMES[scheduler]}",
        )
    )


def report_of(pairs: Path, path: str, value: Any) -> str:
    """The problems that preflight finds with one option of a valid file replaced, without its first
    line."""
    options = training_options(pairs, pairs, constyle_iter=2)
    if isinstance(value, dict) and path == "train":
        value = {**options["train"], **value}
    options = broken(options, path, value)
    options |= {"is_train": True, "dist": False, "auto_resume": False}
    complete_datasets(options)
    try:
        check_options(options)
    except OptionsError as error:
        return (
            str(error)
            .split("\n", 1)[1]
            .replace(str(pairs), "mine")
            .replace(torch.__version__, "2.13")
        )
    raise AssertionError(f"{path}: {value} can be run")


def entry_of(path: str, value: Any, report: str) -> str:
    """The file's lines about one option; lists of all that is registered are cut."""
    shown = "left out" if value is ... else repr(value)
    return f"{path} {shown}\n" + re.sub(r"(not registered; there are) .*", r"\1 …", report) + "\n"


def main() -> None:
    """Write the messages."""
    constyle_arch.register()
    with tempfile.TemporaryDirectory() as folder:
        pairs = write_pairs(Path(folder) / "pairs", 10)
        entries = [
            entry_of(path, value, report_of(pairs, path, value)) for path, value, _ in BROKEN
        ]
    MESSAGES.write_text("".join(entries), encoding="utf-8")
    print(f"{len(entries)} messages written.")


if __name__ == "__main__":
    main()
