"""Checks of what needs more than one option, or the machine and the folders the run is to find."""

import os
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch
from basicsr.models.video_base_model import VideoBaseModel
from basicsr.utils.registry import ARCH_REGISTRY

from constyle_arch.archs.general_restoration_arch import GuidedNetwork
from constyle_arch.archs.prompter_arch import Prompter
from constyle_arch.checkpoints.loading import window_for_crops
from constyle_arch.errors import OptionsError
from constyle_arch.models.constyle_model import ConStyleModel
from constyle_arch.models.progressive_crops import ProgressiveCrops
from constyle_arch.models.prompter_model import PrompterModel
from constyle_arch.options.lookup import Options, Problems, is_subclass, model_of, tried
from constyle_arch.options.schema import Logger, Train, validation_of
from constyle_arch.tiles import tiles_of
from constyle_arch.training.experiments import is_failed_start


def check_combinations(options: Options) -> Problems:
    """What cannot be together, of options whose structure is right."""
    yield from check_folders(options)
    if options.get("archive") and (options["auto_resume"] or options["path"].get("resume_state")):
        yield (
            "--archive starts from scratch, --auto_resume and path.resume_state do not; leave one "
            "of them out."
        )
    yield from _check_device(options)
    yield from _check_tiles(options)
    if options["is_train"]:
        train = Train.read(options["train"])
        yield from _check_prefetching(options)
        yield from _check_contrast(options, train)
        yield from _check_acceleration(train, options["num_gpu"])
        yield from _check_logger(options)


def check_folders(options: Options) -> Problems:
    """What the run writes to must be folders, and writable."""
    root = Path("experiments" if options["is_train"] else "results")
    for folder in (root, root / options["name"]):
        if folder.is_symlink() and not folder.exists():
            yield (
                f"name: {folder} is a link to {folder.readlink()}, which is not there; create that "
                "folder."
            )
        elif folder.exists() and not folder.is_dir():
            yield f"name: {folder} is there and is no folder; rename it."
        elif folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
            yield (
                f"name: the folder {folder} cannot be written to; change its permissions, or start "
                "elsewhere."
            )
    if not os.path.lexists(root) and not os.access(Path.cwd(), os.W_OK | os.X_OK):
        yield (
            f"name: {root} cannot be created in {Path.cwd()}, which cannot be written to; start "
            "elsewhere."
        )


def check_experiment(options: Options) -> Problems:
    """Neither archive nor overwrite an experiment that exists, unless that is asked for."""
    name, state = options["name"], options["path"].get("resume_state")
    home = Path("experiments") / name
    if not options["is_train"] or name.startswith("debug") or options.get("archive"):
        return
    if not home.is_dir() or is_failed_start(home):
        return
    if state and Path(state).expanduser().resolve().is_relative_to(home.resolve()):
        return
    states, networks = home / "training_states", home / "models"
    if not options["auto_resume"]:
        yield (
            f"name: the experiment {home} already exists; --auto_resume resumes it, --archive "
            "moves it away and starts from scratch, or choose another name."
        )
    elif any(networks.glob("*.pth")) and not any(states.glob("*.state")):
        yield (
            f"name: {home} holds networks but no training state to resume from; --archive moves it "
            "away and starts from scratch, or choose another name and load them by "
            "path.pretrain_network_g."
        )


def _check_device(options: Options) -> Problems:
    num_gpu = options["num_gpu"]
    if num_gpu > 0 and not torch.cuda.is_available():
        yield (
            f"num_gpu is {num_gpu}, but torch {torch.__version__} finds no GPU; set num_gpu to "
            "auto, or to 0 for CPU."
        )
    elif num_gpu > 1 and not options["dist"]:
        yield (
            f"num_gpu is {num_gpu} in one process; start with torchrun --nproc-per-node {num_gpu} "
            "-m constyle_arch."
        )
    elif not num_gpu and options.get("val") and is_subclass(model_of(options), VideoBaseModel):
        advice = "leave val out" if options["is_train"] else "test where there is one"
        yield f"num_gpu is 0, and {options['model_type']} scores on a GPU alone; {advice}."


def _check_tiles(options: Options) -> Problems:
    network = dict(iter(ARCH_REGISTRY)).get(options["network_g"]["type"])
    val, multiple = validation_of(options), int(getattr(network, "multiple", 1))
    tile, overlap = val.tile, val.tile_overlap
    if tile is not None:
        tiles = partial(tiles_of, multiple * (tile + 1), tile, overlap, multiple)
        yield from tried(tiles, "val.tile, val.tile_overlap")
    if val.tlc == "auto" and options["is_train"] and window_for_crops(options) is None:
        yield "val.tlc is auto, but datasets.train has no gt_size; give the window in pixels."


def _check_acceleration(train: Train, num_gpu: int) -> Problems:
    if train.amp == "fp16" and not num_gpu:
        yield "train.amp is 'fp16', which CPUs compute no faster; set bf16 or off, or num_gpu."
    if train.compile and not num_gpu:
        from torch._inductor.cpp_builder import get_cpp_compiler  # slow to import

        try:
            get_cpp_compiler()
        except Exception as error:  # of whatever torch looks for
            yield (
                f"train.compile is true and torch finds no C++ compiler ({error}); install g++ or "
                "leave it out."
            )


def _check_logger(options: Options) -> Problems:
    logger = Logger.read(options["logger"])
    if not (logger.wandb or {}).get("project"):
        return
    if find_spec("wandb") is None:
        yield (
            "logger.wandb.project is set, and wandb is not installed: pip install wandb, or leave "
            "it out."
        )
    if not logger.use_tb_logger:
        yield (
            "logger.wandb.project shows what tensorboard is given; set logger.use_tb_logger: true."
        )


def _check_contrast(options: Options, train: Train) -> Problems:
    loader = options["datasets"]["train"]
    network = dict(iter(ARCH_REGISTRY)).get(options["network_g"]["type"])
    wanted: type = Prompter if is_subclass(model_of(options), PrompterModel) else GuidedNetwork
    guided = is_subclass(network, GuidedNetwork) or is_subclass(network, Prompter)
    batch = loader["batch_size_per_gpu"]
    if guided and batch == 1:
        yield (
            "datasets.train.batch_size_per_gpu is 1; ConStyle's BatchNorm needs at least 2 images "
            "to train on."
        )
    parts, each = train.accumulate, 2 if guided else 1  # two images for BatchNorm
    if parts > 1 and (batch % parts or batch // parts < each):
        yield (
            f"train.accumulate is {parts} and datasets.train.batch_size_per_gpu {batch}; each part "
            f"must be of one size and have at least {each} image{'s' * (each > 1)}."
        )
    try:
        ProgressiveCrops.from_options(options)
    except OptionsError as error:
        yield str(error)
    if not is_subclass(model_of(options), ConStyleModel):
        return
    if isinstance(network, type) and not is_subclass(network, wanted):
        advice = "train it with model_type RestorationModel"
        advice = "take Prompter" if wanted is Prompter else advice
        yield f"network_g.type {network.__name__} is not guided by ConStyle; {advice}."
    degraded = train.contrast.positive == "degraded"
    if degraded and not loader.get("second_crop"):
        yield "train.contrast.positive is 'degraded', which needs datasets.train.second_crop: true."
    if degraded and train.mixing_augs.mixup:
        yield (
            "train.contrast.positive is 'degraded', which mixup does not go with; set "
            "train.mixing_augs.mixup: false."
        )


def _check_prefetching(options: Options) -> Problems:
    train_opt = options["datasets"]["train"]
    if train_opt.get("prefetch_mode") == "cpu" and not train_opt["num_worker_per_gpu"]:
        yield (
            "datasets.train: prefetch_mode cpu without workers reads in a thread beside the "
            "training, whose random numbers would depend on timing; leave it out, or set "
            "num_worker_per_gpu."
        )
    if train_opt.get("prefetch_mode") == "cpu" and train_opt.get("persistent_workers"):
        yield (
            "datasets.train: prefetch_mode cpu hangs with persistent_workers; leave one of them "
            "out."
        )
