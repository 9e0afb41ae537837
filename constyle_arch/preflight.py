"""Checking a run's options before anything is created, archived or trained.

Every check returns the problems it finds, so that one report holds all of them.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from basicsr.utils import logger as basicsr_logger
from basicsr.utils.registry import (
    ARCH_REGISTRY,
    DATASET_REGISTRY,
    LOSS_REGISTRY,
    METRIC_REGISTRY,
    MODEL_REGISTRY,
    Registry,
)

from constyle_arch.archs.constyle_arch import ConStyle
from constyle_arch.archs.general_restoration_arch import GuidedNetwork
from constyle_arch.checkpoints.loading import fill, own_names
from constyle_arch.checkpoints.reading import read_state_dict
from constyle_arch.data.catalogue import how_to_get
from constyle_arch.data.pairing import listed
from constyle_arch.errors import CheckpointError, DataError, OptionsError
from constyle_arch.models.constyle_model import ConStyleModel
from constyle_arch.models.mixup import Mixup
from constyle_arch.models.momentum_contrast import MomentumContrast
from constyle_arch.models.restoration_model import RestorationModel
from constyle_arch.repairs.models import find_optimizer, find_scheduler

Options = dict[str, Any]
Problems = Iterator[str]

LOSSES = ("pixel_opt", "perceptual_opt", "contrastive_opt", "content_opt", "style_opt")


def check_options(options: Options) -> None:
    """Refuse options that cannot be run.

    Args:
        options: as read from the file, with `is_train` and the data sets' phases filled in.

    Raises:
        OptionsError: with every problem found, one a line.
    """
    with _no_logger_left_behind():
        problems = [*_check_sections(options), *_check_device(options)]
        if not problems:  # the sections are there: look into them
            checks = [_check_network, _check_metrics, _check_datasets, _check_checkpoint]
            checks += [_check_training] if options["is_train"] else []
            problems = [problem for check in checks for problem in check(deepcopy(options))]
    if problems:
        raise OptionsError("These options cannot be run:\n" + "\n".join(f"  - {problem}" for problem in problems))


@contextmanager
def _no_logger_left_behind() -> Iterator[None]:
    """Undo the making of BasicSR's logger: one made before the run has its folder would never write a log file."""
    logger = logging.getLogger("basicsr")
    handlers, initialized = list(logger.handlers), dict(basicsr_logger.initialized_logger)
    try:
        yield
    finally:
        logger.handlers[:] = handlers
        basicsr_logger.initialized_logger.clear()
        basicsr_logger.initialized_logger.update(initialized)


def _check_sections(options: Options) -> Problems:
    wanted: dict[str, type | tuple[type, ...]] = {
        "name": str,
        "model_type": str,
        "num_gpu": int,
        "datasets": dict,
        "network_g": dict,
        "path": dict,
    }
    if options["is_train"]:
        wanted |= {"train": dict, "logger": dict}
    else:
        wanted |= {"val": dict}
    for key, kind in wanted.items():
        if key not in options:
            yield f"{key} is missing."
        elif not isinstance(options[key], kind):
            yield f"{key} is {options[key]!r}; it must be a {_words(kind)}."
    if not options["is_train"] or not isinstance(options.get("datasets"), dict):
        return
    phases = [phase.split("_")[0] for phase in options["datasets"]]
    if phases.count("train") != 1:
        yield f"datasets has the sections {listed(list(options['datasets']))}; one of them must be 'train'."
    for phase in options["datasets"]:
        if phase.split("_")[0] not in ("train", "val"):
            yield f"datasets.{phase} is not a section of a training run; those are train, val and val_…."


def _words(kind: type | tuple[type, ...]) -> str:
    return {str: "text", int: "whole number (or auto)", dict: "section of keys and values"}[kind]  # type: ignore[index]


def _check_device(options: Options) -> Problems:
    num_gpu = options.get("num_gpu")
    if not isinstance(num_gpu, int):
        return
    if num_gpu > 0 and not torch.cuda.is_available():
        yield f"num_gpu is {num_gpu}, but torch {torch.__version__} finds no GPU; set num_gpu to auto, or to 0 for CPU."
    elif num_gpu > 1 and not options["dist"]:
        yield f"num_gpu is {num_gpu} in one process; start with torchrun --nproc-per-node {num_gpu} -m constyle_arch."


def _registered(registry: Registry, name: object, option: str) -> Problems:
    names = sorted(known for known, _ in registry)
    if name not in names:
        yield f"{option} is {name!r}, which is not registered; there are {', '.join(names)}."


def _check_network(options: Options) -> Problems:
    yield from _registered(MODEL_REGISTRY, options["model_type"], "model_type")
    network = options["network_g"]
    name = network.pop("type", None)
    unregistered = list(_registered(ARCH_REGISTRY, name, "network_g.type"))
    yield from unregistered
    if not unregistered:
        yield from _buildable(ARCH_REGISTRY.get(name), network, f"network_g ({name})")
    if not options["is_train"] and not options["path"].get("pretrain_network_g"):
        yield "path.pretrain_network_g is missing; it names the weights to test."


def _check_metrics(options: Options) -> Problems:
    val = options.get("val") or {}
    for name, metric in (val.get("metrics") or {}).items():
        yield from _registered(METRIC_REGISTRY, metric.get("type"), f"val.metrics.{name}.type")
    if options["is_train"] and val:
        yield from _positive_integers(val, "val", "val_freq")
    if val and "save_img" not in val:
        yield "val.save_img is missing; set it to true or false."


def _check_datasets(options: Options) -> Problems:
    for phase, dataset_opt in options["datasets"].items():
        where = f"datasets.{phase}"
        if not isinstance(dataset_opt, dict) or "name" not in dataset_opt:
            yield f"{where} has no name."
            continue
        unregistered = list(_registered(DATASET_REGISTRY, dataset_opt.get("type"), f"{where}.type"))
        yield from unregistered
        for problem in [] if unregistered else _first_and_last_items(dataset_opt):
            yield f"{where}: {problem} ({how_to_get(dataset_opt['name'])})."
        if dataset_opt["phase"] == "train":
            yield from _positive_integers(dataset_opt, where, "batch_size_per_gpu", "gt_size")
            workers = dataset_opt.get("num_worker_per_gpu")
            if not isinstance(workers, int) or workers < 0:
                yield f"{where}.num_worker_per_gpu is {workers!r}; it must be a whole number, 0 or more."


def _first_and_last_items(dataset_opt: Options) -> Problems:
    for root in ("dataroot_gt", "dataroot_lq"):
        if dataset_opt.get(root) and not Path(dataset_opt[root]).exists():
            yield f"{root}: the folder {dataset_opt[root]} does not exist"
            return
    try:
        dataset = DATASET_REGISTRY.get(dataset_opt["type"])(dataset_opt)
        if len(dataset) == 0:
            yield "it holds no images"
        else:
            dataset[0], dataset[len(dataset) - 1]
    except DataError as error:
        yield str(error).removesuffix(".")
    except Exception as error:  # whatever a data set of another project raises is its answer
        yield f"its first or last item cannot be read: {type(error).__name__}: {error}"


def _check_checkpoint(options: Options) -> Problems:
    path = options["path"]
    for key, value in path.items():
        if "pretrain_network" in key and value is not None and not Path(value).expanduser().is_file():
            yield f"path.{key}: the file {value} does not exist."
            return
    model, arch = dict(iter(MODEL_REGISTRY)).get(options["model_type"]), options["network_g"].pop("type", None)
    if not path.get("pretrain_network_g") or not _is_subclass(model, RestorationModel) or arch not in ARCH_REGISTRY:
        return
    source = str(Path(path["pretrain_network_g"]).expanduser())
    try:
        weights = own_names(read_state_dict(source, path.get("param_key_g", "params")))
        fill(ARCH_REGISTRY.get(arch)(**options["network_g"]), weights, source, path.get("strict_load_g", True))
    except CheckpointError as error:
        yield f"path.pretrain_network_g: {error}"
    except (TypeError, ValueError, AssertionError):
        return  # the network cannot be built, which _check_network reports


def _check_training(options: Options) -> Problems:
    train, log = options["train"], options["logger"]
    yield from _positive_integers(train, "train", "total_iter")
    yield from _positive_integers(log, "logger", "print_freq", "save_checkpoint_freq")
    if "use_tb_logger" not in log:
        yield "logger.use_tb_logger is missing; set it to true or false."
    yield from _check_losses(train)
    yield from _check_optimizer(train)
    yield from _check_schedule(train)
    yield from _check_contrast(options)


def _check_losses(train: Options) -> Problems:
    if not any(train.get(option) for option in LOSSES):
        yield f"train has no loss; give at least one of {', '.join(LOSSES)}."
    for option in LOSSES:
        loss_opt = dict(train.get(option) or {})
        if not loss_opt:
            continue
        name = loss_opt.pop("type", None)
        unregistered = list(_registered(LOSS_REGISTRY, name, f"train.{option}.type"))
        yield from unregistered
        if not unregistered and option != "perceptual_opt":  # which would load its network
            yield from _buildable(LOSS_REGISTRY.get(name), loss_opt, f"train.{option}")
    mixing = dict(train.get("mixing_augs") or {})
    mixing.pop("mixup", None)
    yield from _buildable(Mixup, mixing, "train.mixing_augs")


def _check_optimizer(train: Options) -> Problems:
    optimizer_opt = dict(train.get("optim_g") or {})
    try:
        optimizer = find_optimizer(str(optimizer_opt.pop("type", None)))
    except OptionsError as error:
        yield str(error)
    else:
        yield from _buildable(partial(optimizer, [torch.nn.Parameter(torch.zeros(1))]), optimizer_opt, "train.optim_g")


def _check_schedule(train: Options) -> Problems:
    schedule_opt = dict(train.get("scheduler") or {})
    try:
        scheduler = find_scheduler(str(schedule_opt.pop("type", None)))
    except OptionsError as error:
        yield str(error)
    else:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1)
        yield from _buildable(partial(scheduler, optimizer), schedule_opt, "train.scheduler")
        periods, total_iter = schedule_opt.get("periods"), train.get("total_iter")
        if periods and isinstance(total_iter, (int, float)) and sum(periods) < total_iter:
            yield f"train.scheduler.periods {periods} end after {sum(periods)} of {total_iter} iterations (total_iter)."


def _check_contrast(options: Options) -> Problems:
    if not _is_subclass(dict(iter(MODEL_REGISTRY)).get(options["model_type"]), ConStyleModel):
        return
    if options["datasets"]["train"].get("batch_size_per_gpu") == 1:
        yield "datasets.train.batch_size_per_gpu is 1; ConStyle's BatchNorm needs at least 2 images to train on."
    network = dict(iter(ARCH_REGISTRY)).get(options["network_g"].get("type"))
    if isinstance(network, type) and not _is_subclass(network, GuidedNetwork):
        yield f"network_g.type {network.__name__} is not guided by ConStyle; train it with model_type RestorationModel."
    contrast_opt = dict(options["train"].get("contrast") or {})
    positive = contrast_opt.pop("positive", "clean")
    if positive not in ("clean", "degraded"):
        yield f"train.contrast.positive is {positive!r}; it must be 'clean' or 'degraded'."
    if positive == "degraded" and not options["datasets"]["train"].get("second_crop"):
        yield "train.contrast.positive is 'degraded', which needs datasets.train.second_crop: true."
    if positive == "degraded" and (options["train"].get("mixing_augs") or {}).get("mixup"):
        yield "train.contrast.positive is 'degraded', which mixup does not go with; set train.mixing_augs.mixup: false."
    yield from _buildable(partial(MomentumContrast, ConStyle()), contrast_opt, "train.contrast")


def _is_subclass(candidate: object, parent: type) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, parent)


def _buildable(factory: Callable[..., object], arguments: Options, where: str) -> Problems:
    try:
        factory(**arguments)
    except (TypeError, ValueError, AssertionError) as error:
        yield f"{where}: {error}"


def _positive_integers(section: Options, where: str, *keys: str) -> Problems:
    """Options files write large numbers as `!!float 1e4`, so a float without fraction will do."""
    for key in keys:
        value = section.get(key)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is None or not is_number or value < 1 or not float(value).is_integer():
            yield f"{where}.{key} is {value!r}; it must be a whole number, at least 1."
