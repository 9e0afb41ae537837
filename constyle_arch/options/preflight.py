"""Checking a run's options before anything is created, archived or trained.

Every check yields the problems it finds, so that one report holds all of them. First come the sections and the kinds of
values; once these are right, what the options name is looked up, built and tried out.
"""

import contextlib
import logging
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from difflib import get_close_matches
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.losses.basic_loss import PerceptualLoss
from basicsr.metrics import calculate_metric
from basicsr.utils import logger as basicsr_logger
from basicsr.utils.registry import (
    ARCH_REGISTRY,
    DATASET_REGISTRY,
    LOSS_REGISTRY,
    METRIC_REGISTRY,
    MODEL_REGISTRY,
    Registry,
)
from numpy.typing import NDArray
from torch import nn

from constyle_arch.archs.constyle_arch import CODE_CHANNELS, Codes, ConStyle
from constyle_arch.archs.general_restoration_arch import GuidedNetwork
from constyle_arch.checkpoints.loading import fill, own_names
from constyle_arch.checkpoints.reading import read_state_dict
from constyle_arch.checkpoints.trained import located
from constyle_arch.data.degraded_image_dataset import DegradedImageDataset
from constyle_arch.data.image_stores import as_list, folder_of
from constyle_arch.data.mixed_dataset import MixedDataset
from constyle_arch.data.paired_restoration_dataset import PairedRestorationDataset
from constyle_arch.data.preparation.catalogue import how_to_get
from constyle_arch.errors import CheckpointError, DataError, OptionsError
from constyle_arch.images import size_of
from constyle_arch.inference.restoring import OVERLAP
from constyle_arch.inference.tiles import tiles_of
from constyle_arch.losses.options import RESTORATION, SUFFIX, by_log_name, log_name, loss_options, taken_by
from constyle_arch.models.acceleration import PRECISIONS
from constyle_arch.models.constyle_model import ConStyleModel
from constyle_arch.models.mixup import Mixup
from constyle_arch.models.momentum_contrast import MomentumContrast
from constyle_arch.models.optimization import find_optimizer, find_scheduler
from constyle_arch.models.restoration_model import RestorationModel
from constyle_arch.reporting.scores import INPUT
from constyle_arch.training.resuming import CLOSED_FORM

LARGEST_TRIAL, SMALLEST_TRIAL = 256, 16
"""Sides of the images, in pixels, that losses are tried with."""

Options = dict[str, Any]
Problems = Iterator[str]


def check_options(options: Options) -> None:
    """Refuse options that cannot be run.

    Args:
        options: as read from the file, with `is_train`, `dist`, `auto_resume` and the data sets' phases filled in.

    Raises:
        OptionsError: with every problem found, one a line.
    """
    with _no_logger_left_behind():
        problems = list(_check_structure(options))
        if not problems:  # everything stands where it should: look into it
            checks = [
                _check_folders,
                _check_experiment,
                _check_device,
                _check_network,
                _check_metrics,
                _check_tiles,
                _check_datasets,
            ]
            if options["is_train"]:
                checks += [_check_optimizer, _check_schedule, _check_losses, _check_contrast]
                checks += [_check_acceleration, _check_logger]
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


# Structure: which sections and values there must be, and of which kind.


def _is_number(value: object) -> bool:
    """A number that is finite and that a machine can calculate with."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e18 < value < 1e18


def _is_count(value: object) -> bool:
    """Option files write large numbers as `!!float 1e4`, so a float without a fraction counts too."""
    return isinstance(value, int | float) and _is_number(value) and value >= 1 and float(value).is_integer()


def _bytes(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))


KINDS: dict[str, Callable[[Any], bool]] = {
    "a section of keys and values": lambda value: isinstance(value, dict),
    "text": lambda value: isinstance(value, str) and bool(value),
    "a whole number, at least 1": _is_count,
    "a whole number, at least 1, without a decimal point": lambda value: _is_count(value) and isinstance(value, int),
    "a whole number, 0 or more": lambda value: isinstance(value, int) and _is_number(value) and value >= 0,
    "auto, or a whole number, 0 or more": lambda value: isinstance(value, int) and _is_number(value) and value >= 0,
    "a whole number": lambda value: isinstance(value, int) and _is_number(value),
    "a whole number in [0, 2**31)": lambda value: isinstance(value, int) and _is_number(value) and 0 <= value < 2**31,
    "a folder's name: text without / and not . or ..": lambda value: (
        isinstance(value, str) and value not in ("", ".", "..") and not set(value) & {"/", "\0"} and _bytes(value) < 200
    ),
    "a number above 0": lambda value: _is_number(value) and value > 0,
    "a number in [0, 1)": lambda value: _is_number(value) and 0 <= value < 1,
    "true or false": lambda value: isinstance(value, bool),
    "off, bf16 or fp16": lambda value: value is False or (isinstance(value, str) and value in PRECISIONS),
}
SECTION, TEXT, COUNT, INTEGER, FROM_ZERO, GPUS, WHOLE, SEED, NAME, POSITIVE, DECAY, BOOLEAN, PRECISION = KINDS

REQUIRED = {
    "name": NAME,
    "model_type": TEXT,
    "num_gpu": GPUS,  # auto has become a number by then
    "datasets": SECTION,
    "network_g": SECTION,
    "network_g.type": TEXT,
    "path": SECTION,
}
REQUIRED_TO_TRAIN = {
    "datasets.train": SECTION,
    "datasets.train.batch_size_per_gpu": INTEGER,
    "datasets.train.num_worker_per_gpu": FROM_ZERO,
    "train": SECTION,
    "train.total_iter": COUNT,
    "train.optim_g": SECTION,
    "train.optim_g.lr": POSITIVE,
    "train.scheduler": SECTION,
    "logger": SECTION,
    "logger.print_freq": COUNT,
    "logger.save_checkpoint_freq": COUNT,
    "logger.use_tb_logger": BOOLEAN,
}
REQUIRED_TO_TEST = {"val": SECTION, "val.save_img": BOOLEAN, "path.pretrain_network_g": TEXT}
OPTIONAL = {
    "manual_seed": SEED,
    "val": SECTION,
    "val.metrics": SECTION,
    "val.pbar": BOOLEAN,
    "val.save_comparison": BOOLEAN,
    "val.pictures": FROM_ZERO,
    "val.suffix": NAME,
    "val.tile": INTEGER,
    "val.tile_overlap": FROM_ZERO,
    "val.amp": PRECISION,
    "path.pretrain_network_g": TEXT,
    "path.param_key_g": TEXT,
    "path.strict_load_g": BOOLEAN,
    "path.resume_state": TEXT,
    "datasets.train.dataset_enlarge_ratio": POSITIVE,
    "datasets.train.persistent_workers": BOOLEAN,
    "train.warmup_iter": WHOLE,
    "train.ema_decay": DECAY,
    "train.constyle_iter": FROM_ZERO,
    "train.grad_clip_norm": POSITIVE,
    "train.max_skipped_steps": COUNT,
    "train.amp": PRECISION,
    "train.channels_last": BOOLEAN,
    "train.compile": BOOLEAN,
    "train.checkpointing": BOOLEAN,
    "train.accumulate": INTEGER,
    "train.contrast": SECTION,
    "train.mixing_augs": SECTION,
    "train.mixing_augs.mixup": BOOLEAN,
    "train.mixing_augs.mixup_beta": POSITIVE,
}


def without_empty(options: Options) -> None:
    """Take out what may be left out and is empty (`~`), so that its default holds."""
    for path in OPTIONAL:
        parent, _, key = path.rpartition(".")
        section = _value_at(options, parent)
        if isinstance(section, dict) and section.get(key, ...) is None and parent not in ("", "path"):
            del section[key]


def _check_structure(options: Options) -> Problems:
    required = REQUIRED | (REQUIRED_TO_TRAIN if options["is_train"] else REQUIRED_TO_TEST)
    if options["is_train"] and options.get("val"):
        required |= {"val.val_freq": COUNT, "val.save_img": BOOLEAN}
    if isinstance(options.get("datasets"), dict):
        required |= {f"datasets.{phase}": SECTION for phase in options["datasets"]}
        for phase in options["datasets"]:
            required |= {f"datasets.{phase}.name": NAME, f"datasets.{phase}.type": TEXT}
    for path, kind in required.items():
        parent, _, key = path.rpartition(".")
        section = _value_at(options, parent)
        if isinstance(section, dict):  # else the problem is the section's
            if key not in section:
                yield f"{path} is missing; it must be {kind}."
            elif not KINDS[kind](section[key]):
                yield f"{path} is {section[key]!r}; it must be {kind}."
    losses = {f"train.{option}": SECTION for option in loss_options(_section(options, "train"))}
    for path, kind in (OPTIONAL | losses).items():
        value = _value_at(options, path)
        if path not in required and value is not None and not KINDS[kind](value):
            yield f"{path} is {value!r}; it must be {kind}, or left out."
    yield from _check_phases(options)
    yield from _check_keys(options)


KEYS = {
    "": "name model_type scale num_gpu manual_seed datasets network_g path train val logger dist_params "
    "find_unused_parameters",
    "path": "pretrain_network_g param_key_g strict_load_g resume_state ignore_resume_networks",
    "train": "total_iter warmup_iter ema_decay optim_g scheduler constyle_iter grad_clip_norm max_skipped_steps "
    "amp channels_last compile checkpointing accumulate contrast mixing_augs "
    "pixel_opt perceptual_opt contrastive_opt content_opt style_opt",  # and any other <name>_opt
    "train.mixing_augs": "mixup mixup_beta use_identity",
    "val": "val_freq save_img save_comparison pictures suffix pbar metrics tile tile_overlap amp",
    "logger": "print_freq save_checkpoint_freq use_tb_logger wandb",
}
OF_THE_RUN = ("is_train", "dist", "auto_resume", "archive")
"""What a run adds to its options."""

OWN_DATA_SETS = {
    data_set.__name__: data_set for data_set in (PairedRestorationDataset, DegradedImageDataset, MixedDataset)
}
LOADER_KEYS = (
    "name type phase scale num_worker_per_gpu batch_size_per_gpu dataset_enlarge_ratio prefetch_mode "
    "num_prefetch_queue pin_memory persistent_workers"
)


def _check_keys(options: Options) -> Problems:
    """Keys that nothing reads, at the top and in sections of this package's models and data sets.

    Other models have keys of their own, which nobody knows here.
    """
    known = {path: keys.split() for path, keys in KEYS.items()}
    for phase in options["datasets"] if isinstance(options.get("datasets"), dict) else ():
        data_set = OWN_DATA_SETS.get(str(_value_at(options, f"datasets.{phase}.type")))
        if data_set:
            known[f"datasets.{phase}"] = f"{LOADER_KEYS} {data_set.KEYS}".split()
    own_models = (RestorationModel.__name__, ConStyleModel.__name__)
    if options.get("model_type", own_models[0]) not in own_models:
        return
    for path, keys in known.items():
        for key in _section(options, path):
            of_the_run = not path and key in OF_THE_RUN
            if key in keys or of_the_run or (path == "train" and str(key).endswith(SUFFIX)):
                continue
            near = get_close_matches(str(key), keys, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(keys)}."
            yield f"{path and f'{path}.'}{key} is not an option that is read; {hint}"


def _check_phases(options: Options) -> Problems:
    if not isinstance(options.get("datasets"), dict):
        return
    phases = [str(phase) for phase in options["datasets"]]
    allowed = ("train", "val") if options["is_train"] else ("test", "val")
    for phase in phases:
        if phase.split("_")[0] not in allowed or phase.startswith("train_"):
            wanted = "train, val and val_…" if options["is_train"] else "test and test_…"
            yield f"datasets.{phase} is not a section of this run; those are {wanted}."
    if not phases:
        yield "datasets has no section."
    names = [_value_at(options, f"datasets.{phase}.name") for phase in phases if phase != "train"]
    for name in {name for name in names if names.count(name) > 1}:
        yield f"datasets has two sets to measure on called {name!r}; give each a name of its own, they share folders."


def _section(options: Options, path: str) -> Options:
    """The section at `path`; empty where there is none."""
    section = _value_at(options, path)
    return section if isinstance(section, dict) else {}


def _value_at(options: Options, path: str) -> Any:
    value: Any = options
    for key in filter(None, path.split(".")):
        if not isinstance(value, dict) or key not in value:
            return None
        value = value[key]
    return value


# What the options name: looked up, built and tried out.


def _check_folders(options: Options) -> Problems:
    """What the run writes to must be folders, and writable."""
    root = Path("experiments" if options["is_train"] else "results")
    for folder in (root, root / options["name"]):
        if folder.is_symlink() and not folder.exists():
            yield f"name: {folder} is a link to {folder.readlink()}, which is not there; create that folder."
        elif folder.exists() and not folder.is_dir():
            yield f"name: {folder} is there and is no folder; rename it."
        elif folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
            yield f"name: the folder {folder} cannot be written to; change its permissions, or start elsewhere."
    if not os.path.lexists(root) and not os.access(Path.cwd(), os.W_OK | os.X_OK):
        yield f"name: {root} cannot be created in {Path.cwd()}, which cannot be written to; start elsewhere."


def _check_experiment(options: Options) -> Problems:
    """An experiment that is there already is neither archived nor overwritten unless that is asked for."""
    name = options["name"]
    home = Path("experiments") / name
    if not options["is_train"] or name.startswith("debug"):
        return
    state = options["path"].get("resume_state")
    if options.get("archive") and (options["auto_resume"] or state):
        yield "--archive starts from scratch, --auto_resume and path.resume_state do not; leave one of them out."
    if options.get("archive") or not home.is_dir():
        return
    if state and Path(state).expanduser().resolve().is_relative_to(home.resolve()):
        return
    if not options["auto_resume"]:
        yield (
            f"name: the experiment {home} is there already; --auto_resume resumes it, --archive moves it away and "
            "starts from scratch, or choose another name."
        )
    elif any((home / "models").glob("*.pth")) and not any((home / "training_states").glob("*.state")):
        yield (
            f"name: {home} holds networks but no training state to resume from; --archive moves it away and starts "
            "from scratch, or choose another name and load them by path.pretrain_network_g."
        )


def _check_device(options: Options) -> Problems:
    num_gpu = options["num_gpu"]
    if num_gpu > 0 and not torch.cuda.is_available():
        yield f"num_gpu is {num_gpu}, but torch {torch.__version__} finds no GPU; set num_gpu to auto, or to 0 for CPU."
    elif num_gpu > 1 and not options["dist"]:
        yield f"num_gpu is {num_gpu} in one process; start with torchrun --nproc-per-node {num_gpu} -m constyle_arch."


def _check_network(options: Options) -> Problems:
    yield from _registered(MODEL_REGISTRY, options["model_type"], "model_type")
    network_opt = options["network_g"]
    name = network_opt.pop("type")
    unregistered = list(_registered(ARCH_REGISTRY, name, "network_g.type"))
    yield from unregistered
    if unregistered:
        return
    built: list[nn.Module] = []
    yield from _tried(lambda: built.append(ARCH_REGISTRY.get(name)(**network_opt)), f"network_g ({name})")
    yield from _check_checkpoint(options, built)
    if built and _is_subclass(_model(options), RestorationModel):
        yield from _tried(partial(_restore_once, built[0]), f"network_g ({name})")


@torch.no_grad()
def _restore_once(network: nn.Module) -> None:
    image = torch.rand(2, 3, 16, 16)
    restored = network(image)
    if not isinstance(restored, torch.Tensor) or restored.shape != image.shape:
        raise ValueError("it does not turn an image into one of the same size, which restoration is about.")


def _check_checkpoint(options: Options, built: list[nn.Module]) -> Problems:
    path = options["path"]
    if not path.get("pretrain_network_g"):
        return
    source = located(path["pretrain_network_g"]).expanduser()
    home = Path("experiments") / options["name"]
    if not source.is_file():
        yield f"path.pretrain_network_g: the file {source} does not exist."
    elif options["is_train"] and not _resumes(options) and source.resolve().is_relative_to(home.resolve()):
        yield f"path.pretrain_network_g: {source} is in {home}, which a fresh start moves away; change name."
    elif built and _is_subclass(_model(options), RestorationModel):
        try:
            weights = own_names(read_state_dict(source, path.get("param_key_g")))
            fill(built[0], weights, str(source), path.get("strict_load_g", True))
        except CheckpointError as error:
            yield f"path.pretrain_network_g: {error}"


def _resumes(options: Options) -> bool:
    return bool(options.get("auto_resume") or options["path"].get("resume_state"))


def _check_metrics(options: Options) -> Problems:
    metrics = (options.get("val") or {}).get("metrics") or {}
    height, width = _smallest_image(options) if metrics else (1, 1)
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    for name, metric_opt in metrics.items():
        where = f"val.metrics.{name}"
        if name == "image" or str(name).startswith(INPUT) or "|" in str(name):
            yield f"{where}: results have columns image and {INPUT}…, and no |; choose another name."
        if not isinstance(name, str):
            yield f"{where}: the name must be text."
        if not isinstance(metric_opt, dict):
            yield f"{where} is {metric_opt!r}; it must be {SECTION}."
            continue
        if metric_opt.get("better", "higher") not in ("higher", "lower"):
            yield f"{where}.better is {metric_opt['better']!r}; it must be higher or lower."
        unregistered = list(_registered(METRIC_REGISTRY, metric_opt.get("type"), f"{where}.type"))
        yield from unregistered
        border = metric_opt.get("crop_border", 0)
        if KINDS[FROM_ZERO](border) and 2 * border >= min(height, width):
            yield f"{where}.crop_border is {border} and leaves nothing of images of {width}×{height} pixels."
        elif not unregistered:
            yield from _tried(partial(_score_once, image, metric_opt), where)


def _score_once(image: NDArray[np.uint8], metric_opt: Options) -> None:
    images, reason = {"img": image, "img2": image ^ 1}, ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is reported here
            score = float(calculate_metric(images, metric_opt))
        reason = "" if np.isfinite(score) else f"it gives {score}"
    except (RuntimeError, ArithmeticError, np.linalg.LinAlgError) as error:
        reason = " ".join(str(error).split())
    if reason:
        raise ValueError(f"it cannot score images of {size_of(image)} pixels ({reason}); measure on larger ones.")


def _smallest_image(options: Options) -> tuple[int, int]:
    """Height and width of the larger of the first and last image of a data set, for the one where it is smallest.

    A single image too small to score is reported by the run; what is wrong with data is not said here.
    """
    sizes = []
    logging.disable(logging.WARNING)  # what is worth a warning, `_check_datasets` hears
    for phase, dataset_opt in options["datasets"].items():
        if phase != "train":
            with contextlib.suppress(Exception):  # whatever a data set of another project raises
                items = DATASET_REGISTRY.get(dataset_opt["type"])(deepcopy(dataset_opt))
                ends = [tuple(items[index]["lq"].shape[-2:]) for index in (0, len(items) - 1)]
                sizes.append(max(ends, key=math.prod))
    logging.disable(logging.NOTSET)
    return min(sizes, key=math.prod, default=(256, 256))


def _check_tiles(options: Options) -> Problems:
    val_opt = options.get("val") or {}
    multiple = int(getattr(dict(iter(ARCH_REGISTRY)).get(options["network_g"]["type"]), "multiple", 1))
    tile, overlap = val_opt.get("tile"), val_opt.get("tile_overlap", OVERLAP)
    if tile is not None:
        yield from _tried(
            lambda: tiles_of(multiple * (tile + 1), tile, overlap, multiple), "val.tile, val.tile_overlap"
        )


def _check_datasets(options: Options) -> Problems:
    for phase, dataset_opt in options["datasets"].items():
        where = f"datasets.{phase}"
        unregistered = list(_registered(DATASET_REGISTRY, dataset_opt["type"], f"{where}.type"))
        yield from unregistered
        if unregistered:
            continue
        dataset = DATASET_REGISTRY.get(dataset_opt["type"])
        if phase == "train" and dataset_opt["type"] in OWN_DATA_SETS:
            size = dataset_opt.get("gt_size")
            if not KINDS[INTEGER](size):
                yield f"{where}.gt_size is {size!r}; it must be {INTEGER}."
                continue
        if "|" in dataset_opt["name"]:
            yield f"{where}.name is {dataset_opt['name']!r}; results are tables, so it must be without |."
        for problem in _first_and_last_items(dataset, dataset_opt):
            yield f"{where}: {problem}."
    train_opt = options["datasets"].get("train") or {}
    if train_opt.get("prefetch_mode") == "cpu" and not train_opt["num_worker_per_gpu"]:
        yield (
            "datasets.train: prefetch_mode cpu without workers reads in a thread beside the training, whose random "
            "numbers would depend on timing; leave it out, or set num_worker_per_gpu."
        )
    if train_opt.get("prefetch_mode") not in (None, "cpu", "cuda"):
        yield f"datasets.train.prefetch_mode is {train_opt['prefetch_mode']!r}; it must be cpu, cuda or left out."
    if train_opt.get("prefetch_mode") == "cpu" and train_opt.get("persistent_workers"):
        yield "datasets.train: prefetch_mode cpu hangs with persistent_workers; leave one of them out."


def _first_and_last_items(dataset: Callable[[Options], Any], dataset_opt: Options) -> Problems:
    roots = [(key, root) for key in ("dataroot_gt", "dataroot_lq") for root in as_list(dataset_opt.get(key))]
    missing = [(key, root) for key, root in roots if isinstance(root, str) and not folder_of(root).is_dir()]
    for key, root in missing:
        yield f"{key}: the folder {root} does not exist ({how_to_get(root)})"
    if missing:
        return
    try:
        items = dataset(dataset_opt)
        for one in items.sets if isinstance(items, MixedDataset) else [items]:
            if len(one) == 0:
                yield "it holds no images"
            else:
                one[0], one[len(one) - 1]
    except DataError as error:
        yield str(error).removesuffix(".")
    except Exception as error:  # whatever a data set of another project raises is its answer
        yield f"its first or last item cannot be read: {type(error).__name__}: {error}"


def _check_optimizer(options: Options) -> Problems:
    optimizer_opt = options["train"]["optim_g"]
    parameter = nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    try:
        optimizer = find_optimizer(str(optimizer_opt.pop("type", None)))
    except OptionsError as error:
        yield str(error)
    else:
        yield from _tried(lambda: optimizer([parameter], **optimizer_opt).step(), "train.optim_g")


def _check_schedule(options: Options) -> Problems:
    schedule_opt, total_iter = options["train"]["scheduler"], options["train"]["total_iter"]
    try:
        scheduler = find_scheduler(str(schedule_opt.pop("type", None)))
    except OptionsError as error:
        yield str(error)
        return

    def step_once() -> None:
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1)
        schedule = scheduler(optimizer, **schedule_opt)
        optimizer.step()
        schedule.step()

    warmup, name = options["train"].get("warmup_iter") or 0, scheduler.__name__
    if warmup > 0 and name not in CLOSED_FORM:
        yield (
            f"train.warmup_iter is {warmup}, but {name} continues from whatever rate the warm-up has reached and never "
            f"comes to the base rate; leave one of them out, or use one of {', '.join(CLOSED_FORM)}."
        )
    problems = list(_tried(step_once, "train.scheduler"))
    yield from problems
    periods = schedule_opt.get("periods")
    if not problems and periods and sum(periods) < total_iter:
        yield f"train.scheduler.periods {periods} end after {sum(periods)} of {total_iter} iterations (total_iter)."


def _check_losses(options: Options) -> Problems:
    train, model = options["train"], _model(options)
    for option, loss_opt in loss_options(train).items():
        yield from _registered(LOSS_REGISTRY, loss_opt.get("type"), f"train.{option}.type")
    if not _is_subclass(model, RestorationModel):
        return  # BasicSR's other models have losses of their own
    losses = {
        option: LOSS_REGISTRY.get(loss_opt["type"])
        for option, loss_opt in loss_options(train).items()
        if not list(_registered(LOSS_REGISTRY, loss_opt.get("type"), ""))
    }
    has: tuple[str, ...] = getattr(model, "QUANTITIES", RESTORATION)
    yield from _try_losses(options, losses, has)
    for one, other in combinations(losses, 2):
        if log_name(one) == log_name(other):
            yield f"train.{one} and train.{other} are both logged as {log_name(one)}; rename one."
    mixing = dict(train.get("mixing_augs") or {})
    mixing.pop("mixup", None)
    yield from _tried(partial(Mixup, **mixing), "train.mixing_augs")
    taken = [set(taken_by(loss)) for loss in losses.values()]
    if any(names <= set(RESTORATION) for names in taken):
        return
    if not any(names <= set(has) for names in taken):
        yield "train has no loss to train with; give one, such as pixel_opt: {type: L1Loss}."
    elif train.get("constyle_iter", train["total_iter"]) < train["total_iter"]:
        yield (
            "train.constyle_iter ends ConStyle's losses before total_iter and there is no loss of the "
            "restored image, such as pixel_opt, to continue with."
        )
    elif options["dist"] and not options.get("find_unused_parameters"):
        yield "train has no loss of the restored image; several processes then need find_unused_parameters: true."


def _try_losses(options: Options, losses: Mapping[str, Any], has: tuple[str, ...]) -> Problems:
    """Compute each loss once, but for the perceptual one, which would load its network."""
    quantities = _quantities(options["datasets"]["train"].get("gt_size"))
    for option, loss in losses.items():
        loss_opt = dict(options["train"][option])
        name, taken = loss_opt.pop("type"), taken_by(loss)
        if unknown := [quantity for quantity in taken if quantity not in (*quantities, *has)]:
            yield (
                f"train.{option}: {name} takes {', '.join(unknown)}, which {options['model_type']} does not "
                f"have; there are {', '.join(has)}."
            )
        elif set(taken) <= quantities.keys() and loss is not PerceptualLoss:
            inputs = [quantities[quantity] for quantity in taken]
            yield from _tried(partial(_compute_once, loss, loss_opt, option, inputs), f"train.{option}")


def _quantities(gt_size: object) -> dict[str, Any]:
    """What losses may take, to try them with: of two images of the size that is trained on."""
    side = SMALLEST_TRIAL
    if isinstance(gt_size, int) and KINDS[INTEGER](gt_size):
        side = min(gt_size, LARGEST_TRIAL)
    image, code = torch.rand(2, 3, side, side), torch.rand(2, CODE_CHANNELS)
    values = {"queue": torch.rand(CODE_CHANNELS, 3), "codes": Codes(code, code), "negatives": Codes(code, code)}
    return dict.fromkeys(RESTORATION, image) | dict.fromkeys(("query", "positive"), code) | values


def _compute_once(loss: Callable[..., nn.Module], loss_opt: Options, option: str, inputs: list[Any]) -> None:
    parts = by_log_name(option, loss(**loss_opt)(*inputs)).values()
    if any(not isinstance(part, torch.Tensor) or part.dim() != 0 for part in parts):
        raise ValueError("it does not give a single number.")


def _check_contrast(options: Options) -> Problems:
    train_opt = options["datasets"]["train"]
    network = dict(iter(ARCH_REGISTRY)).get(options["network_g"]["type"])
    if _is_subclass(network, GuidedNetwork) and train_opt["batch_size_per_gpu"] == 1:
        yield "datasets.train.batch_size_per_gpu is 1; ConStyle's BatchNorm needs at least 2 images to train on."
    yield from _check_parts(options, guided=_is_subclass(network, GuidedNetwork))
    if not _is_subclass(_model(options), ConStyleModel):
        return
    if isinstance(network, type) and not _is_subclass(network, GuidedNetwork):
        yield f"network_g.type {network.__name__} is not guided by ConStyle; train it with model_type RestorationModel."
    contrast_opt = dict(options["train"].get("contrast") or {})
    positive = contrast_opt.pop("positive", "clean")
    if positive not in ("clean", "degraded"):
        yield f"train.contrast.positive is {positive!r}; it must be 'clean' or 'degraded'."
    if positive == "degraded" and not train_opt.get("second_crop"):
        yield "train.contrast.positive is 'degraded', which needs datasets.train.second_crop: true."
    if positive == "degraded" and (options["train"].get("mixing_augs") or {}).get("mixup"):
        yield "train.contrast.positive is 'degraded', which mixup does not go with; set train.mixing_augs.mixup: false."
    yield from _tried(partial(MomentumContrast, ConStyle(), **contrast_opt), "train.contrast")


def _check_parts(options: Options, guided: bool) -> Problems:
    """A batch computed in parts must have images for all of them, and BatchNorm needs two in each."""
    parts, batch = options["train"].get("accumulate", 1), options["datasets"]["train"]["batch_size_per_gpu"]
    each = 2 if guided else 1
    if parts > 1 and (batch % parts or batch // parts < each):
        yield (
            f"train.accumulate is {parts} and datasets.train.batch_size_per_gpu {batch}; each part must be of one size "
            f"and have at least {each} image{'s' * (each > 1)}."
        )


def _check_acceleration(options: Options) -> Problems:
    train_opt = options["train"]
    if train_opt.get("amp") == "fp16" and not options["num_gpu"]:
        yield "train.amp is 'fp16', which CPUs compute no faster; set bf16 or off, or num_gpu."
    if train_opt.get("compile") and not options["num_gpu"]:
        from torch._inductor.cpp_builder import get_cpp_compiler  # slow to import

        try:
            get_cpp_compiler()
        except Exception as error:  # of whatever torch looks for
            yield f"train.compile is true and torch finds no C++ compiler ({error}); install g++ or leave it out."


def _check_logger(options: Options) -> Problems:
    if options["logger"].get("wandb") and options["logger"]["wandb"].get("project"):
        yield "logger.wandb.project is set, but BasicSR 1.4.2 does not work with current wandb; leave it out."


REGISTRY_SUFFIX = "_basicsr"  # of some names, which BasicSR finds without it too


def _registered(registry: Registry, name: object, option: str) -> Problems:
    names = sorted(known.removesuffix(REGISTRY_SUFFIX) for known, _ in registry)
    if str(name).removesuffix(REGISTRY_SUFFIX) not in names:
        yield f"{option} is {name!r}, which is not registered; there are {', '.join(names)}."


def _tried(make: Callable[[], object], where: str) -> Problems:
    try:
        make()
    except Exception as error:  # what an option makes a constructor of any project raise is its answer
        yield f"{where}: {error if isinstance(error, TypeError | ValueError) else repr(error)}"


def _model(options: Options) -> object:
    return dict(iter(MODEL_REGISTRY)).get(options["model_type"])


def _is_subclass(candidate: object, parent: type) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, parent)
