"""Trial builds: what a run's options name is looked up, built and tried out once."""

import math
import warnings
from collections.abc import Callable, Generator, Mapping
from copy import deepcopy
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.losses.basic_loss import PerceptualLoss
from basicsr.metrics import calculate_metric
from basicsr.ops.fused_act import FusedLeakyReLU, fused_act
from basicsr.utils.registry import (
    ARCH_REGISTRY,
    DATASET_REGISTRY,
    LOSS_REGISTRY,
    METRIC_REGISTRY,
    MODEL_REGISTRY,
)
from numpy.typing import NDArray
from torch import nn

from constyle_arch.archs.constyle_arch import CODE_CHANNELS, Codes
from constyle_arch.archs.layers import channels_of
from constyle_arch.checkpoints.loading import fill, own_names
from constyle_arch.checkpoints.reading import read_state_dict
from constyle_arch.checkpoints.trained import located
from constyle_arch.data.image_stores import as_list, folder_of, no_folder
from constyle_arch.data.mixed_dataset import MixedDataset
from constyle_arch.data.preparation.catalogue import how_to_get
from constyle_arch.errors import OptionsError, UserError
from constyle_arch.images import size_of
from constyle_arch.losses import perceptual_backbone
from constyle_arch.losses.options import RESTORATION, by_log_name, log_name, loss_options, taken_by
from constyle_arch.metrics.perceptual import backbone_to_download
from constyle_arch.models.constyle_model import encoder_weights
from constyle_arch.models.optimization import find_optimizer, find_scheduler
from constyle_arch.models.prompter_model import PrompterModel
from constyle_arch.models.restoration_model import RestorationModel
from constyle_arch.options.lookup import Options, Problems, is_subclass, model_of, registered, tried
from constyle_arch.options.schema import Train
from constyle_arch.reporting.scores import INPUT
from constyle_arch.training.resuming import CLOSED_FORM

Size = tuple[int, int]
"""Height and width."""

LONGEST_EPOCH = 50_000_000
"""Images whose order is drawn at once, which takes some gigabytes."""

LARGEST_TRIAL, SMALLEST_TRIAL = 256, 16
"""Sides of the images, in pixels, that losses are tried with."""


def try_out(options: Options) -> Problems:
    """What fails when it is built and used once, of options whose structure is right."""
    # constructors may change what they are given
    yield from _check_network(deepcopy(options))
    smallest = yield from _check_datasets(deepcopy(options))
    yield from _check_metrics(deepcopy(options), *smallest)
    if options["is_train"]:
        for check in (_check_optimizer, _check_schedule, _check_losses):
            yield from check(deepcopy(options))


def _check_network(options: Options) -> Problems:
    yield from registered(MODEL_REGISTRY, options["model_type"], "model_type")
    network_opt = options["network_g"]
    name = network_opt.pop("type")
    network = yield from registered(ARCH_REGISTRY, name, "network_g.type")
    if network is None:
        return
    built = yield from tried(lambda: network(**network_opt), f"network_g ({name})")
    yield from _check_checkpoint(options, built)
    parts = () if built is None or hasattr(fused_act, "fused_act_ext") else built.modules()
    if any(isinstance(part, FusedLeakyReLU) for part in parts):
        yield (
            f"network_g.type {name} needs operators that BasicSR compiles only where its build "
            "finds BASICSR_EXT=True in the environment; build it so, or take another network."
        )
    model = model_of(options)
    restores = is_subclass(model, RestorationModel) and not is_subclass(model, PrompterModel)
    if built is not None and restores:
        yield from tried(partial(_restore_once, built), f"network_g ({name})")


@torch.no_grad()
def _restore_once(network: nn.Module) -> None:
    image = torch.rand(2, channels_of(network), 16, 16)
    restored = network(image)
    if not isinstance(restored, torch.Tensor) or restored.shape != image.shape:
        raise ValueError(
            "it does not turn an image into one of the same size, which restoration is about."
        )


def _check_checkpoint(options: Options, built: nn.Module | None) -> Problems:
    path = options["path"]
    if constyle := path.get("pretrain_constyle"):
        yield from tried(partial(encoder_weights, constyle), "path.pretrain_constyle")
    if not path.get("pretrain_network_g"):
        return
    resumes = options.get("auto_resume") or path.get("resume_state")
    starts_afresh = options["is_train"] and not resumes
    source = located(path["pretrain_network_g"])
    home = Path("experiments") / options["name"]
    if not source.is_file():
        yield f"path.pretrain_network_g: the file {source} does not exist."
    elif starts_afresh and source.resolve().is_relative_to(home.resolve()):
        yield (
            f"path.pretrain_network_g: {source} is in {home}, which a fresh start moves away; "
            "change name."
        )
    elif built is not None and is_subclass(model_of(options), RestorationModel):

        def load() -> None:
            weights = own_names(read_state_dict(source, path.get("param_key_g")))
            fill(built, weights, str(source), path.get("strict_load_g", True))

        yield from tried(load, "path.pretrain_network_g")


def _check_metrics(options: Options, height: int, width: int) -> Problems:
    metrics = (options.get("val") or {}).get("metrics") or {}
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    for name, metric_opt in metrics.items():
        where = f"val.metrics.{name}"
        if name == "image" or str(name).startswith(INPUT) or "|" in str(name):
            yield (
                f"{where}: results have columns image and {INPUT}…, and no |; choose another name."
            )
        if not isinstance(name, str):
            yield f"{where}: the name must be text."
        metric = yield from registered(METRIC_REGISTRY, metric_opt.get("type"), f"{where}.type")
        border = metric_opt.get("crop_border", 0)
        if isinstance(border, int) and 2 * border >= min(height, width):
            yield (
                f"{where}.crop_border is {border} and leaves nothing of images of {width}×{height} "
                "pixels."
            )
        elif metric is not None:
            yield from tried(partial(_score_once, image, metric_opt), where)


def _score_once(image: NDArray[np.uint8], metric_opt: Options) -> None:
    if backbone_to_download(metric_opt):  # which is for the run to do
        return
    images, reason = {"img": image, "img2": image ^ 1}, ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is reported here
            score = float(calculate_metric(images, metric_opt))
        reason = "" if np.isfinite(score) else f"it gives {score}"
    except (RuntimeError, ArithmeticError, np.linalg.LinAlgError) as error:
        reason = " ".join(str(error).split())
    if reason:
        raise ValueError(
            f"it cannot score images of {size_of(image)} pixels ({reason}); measure on larger ones."
        )


def _check_datasets(options: Options) -> Generator[str, None, Size]:
    """Build every data set and read its first and last item.

    Returns:
        Height and width of the larger of both items of a set to measure on, for the one where it is
        smallest. A single image too small to score is reported by the run.
    """
    measured = []
    for phase, dataset_opt in options["datasets"].items():
        where = f"datasets.{phase}"
        made = yield from registered(DATASET_REGISTRY, dataset_opt["type"], f"{where}.type")
        if made is None:
            continue
        if "|" in dataset_opt["name"]:
            yield (
                f"{where}.name is {dataset_opt['name']!r}; results are tables, so it must be "
                "without |."
            )
        sizes = yield from _first_and_last_items(dataset_opt, where)
        if phase != "train" and sizes:
            measured.append(max(sizes, key=math.prod))
    return min(measured, key=math.prod, default=(256, 256))


def _first_and_last_items(dataset_opt: Options, where: str) -> Generator[str, None, list[Size]]:
    """Read the items, and return height and width of those that are degraded images."""
    sizes: list[Size] = []
    missing = [
        f"{where}: {key}: {no_folder(root)} ({how_to_get(root)})."
        for key in ("dataroot_gt", "dataroot_lq")
        for root in as_list(dataset_opt.get(key))
        if isinstance(root, str) and not folder_of(root).is_dir()
    ]
    yield from missing
    if missing:
        return sizes
    try:
        items = DATASET_REGISTRY.get(dataset_opt["type"])(dataset_opt)
        for one in items.sets if isinstance(items, MixedDataset) else [items]:
            if len(one) == 0:
                yield f"{where}: it holds no images."
                continue
            for item in (one[0], one[len(one) - 1]):
                if isinstance(item, Mapping) and isinstance(item.get("lq"), torch.Tensor):
                    height, width = item.get("gt", item["lq"]).shape[-2:]  # as large as restored
                    sizes.append((height, width))
        trains = dataset_opt["phase"] == "train"
        ratio = dataset_opt.get("dataset_enlarge_ratio", 1) if trains else 1
        if len(items) * ratio > LONGEST_EPOCH:
            yield (
                f"{where}: dataset_enlarge_ratio is {ratio}, which makes an epoch of {len(items)} "
                f"images one of {len(items) * ratio:.0f}; their order is drawn at once, so it must "
                f"be at most {LONGEST_EPOCH // len(items)}."
            )
    except UserError as error:
        yield f"{where}: {str(error).removesuffix('.')}."
    except Exception as error:  # whatever a data set of another project raises is its answer
        yield f"{where}: its first or last item cannot be read: {type(error).__name__}: {error}."
    return sizes


def _check_optimizer(options: Options) -> Problems:
    optimizer_opt = options["train"]["optim_g"]
    parameter = nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    try:
        optimizer = find_optimizer(str(optimizer_opt.pop("type", None)))
    except OptionsError as error:
        yield str(error)
    else:
        yield from tried(lambda: optimizer([parameter], **optimizer_opt).step(), "train.optim_g")


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
            f"train.warmup_iter is {warmup}, but {name} continues from whatever rate the warm-up "
            "has reached and never comes to the base rate; leave one of them out, or use one of "
            f"{', '.join(CLOSED_FORM)}."
        )
    problems = list(tried(step_once, "train.scheduler"))
    yield from problems
    periods = schedule_opt.get("periods")
    if not problems and periods and sum(periods) < total_iter:
        yield (
            f"train.scheduler.periods {periods} end after {sum(periods)} of {total_iter} "
            "iterations (total_iter)."
        )


def _check_losses(options: Options) -> Problems:
    train, model = options["train"], model_of(options)
    losses = {}
    for option, loss_opt in loss_options(train).items():
        loss = yield from registered(LOSS_REGISTRY, loss_opt.get("type"), f"train.{option}.type")
        if loss is not None:
            losses[option] = loss
            backbone = partial(perceptual_backbone.backbone_to_download, loss_opt)
            yield from tried(backbone, f"train.{option}")
    if not is_subclass(model, RestorationModel):
        return  # BasicSR's other models have losses of their own
    has: tuple[str, ...] = getattr(model, "QUANTITIES", RESTORATION)
    yield from _try_losses(options, losses, has)
    for one, other in combinations(losses, 2):
        if log_name(one) == log_name(other):
            yield f"train.{one} and train.{other} are both logged as {log_name(one)}; rename one."
    taken = [set(taken_by(loss)) for loss in losses.values()]
    if any(names <= set(RESTORATION) for names in taken):
        return
    if not any(names <= set(has) for names in taken):
        yield "train has no loss to train with; give one, such as pixel_opt: {type: L1Loss}."
    elif (known := Train.read(train)).constyle_iterations < known.total_iter:
        yield (
            "train.constyle_iter ends ConStyle's losses before total_iter and there is no loss of "
            "the restored image, such as pixel_opt, to continue with."
        )
    elif options["dist"] and RESTORATION[0] in has and not options.get("find_unused_parameters"):
        yield (
            "train has no loss of the restored image; several processes then need "
            "find_unused_parameters: true."
        )


def _try_losses(options: Options, losses: Mapping[str, Any], has: tuple[str, ...]) -> Problems:
    """Compute each loss once, but for the perceptual one, which would load its network."""
    quantities = _quantities(options["datasets"]["train"].get("gt_size"))
    for option, loss in losses.items():
        loss_opt = dict(options["train"][option])
        name, taken = loss_opt.pop("type"), taken_by(loss)
        if unknown := [quantity for quantity in taken if quantity not in (*quantities, *has)]:
            yield (
                f"train.{option}: {name} takes {', '.join(unknown)}, which {options['model_type']} "
                f"does not have; there are {', '.join(has)}."
            )
        elif set(taken) <= quantities.keys() and loss is not PerceptualLoss:
            inputs = [quantities[quantity] for quantity in taken]
            compute = partial(_compute_once, loss, loss_opt, option, inputs)
            yield from tried(compute, f"train.{option}")


def _quantities(gt_size: object) -> dict[str, Any]:
    """What losses may take, to try them with: of two images of the size that is trained on."""
    side = SMALLEST_TRIAL
    if isinstance(gt_size, int) and gt_size > 0:
        side = min(gt_size, LARGEST_TRIAL)
    image, code = torch.rand(2, 3, side, side), torch.rand(2, CODE_CHANNELS)
    codes = Codes(code, code)
    values = {"queue": torch.rand(CODE_CHANNELS, 3), "codes": codes, "negatives": codes}
    return dict.fromkeys(RESTORATION, image) | dict.fromkeys(("query", "positive"), code) | values


def _compute_once(
    loss: Callable[..., nn.Module], loss_opt: Options, option: str, inputs: list[Any]
) -> None:
    parts = by_log_name(option, loss(**loss_opt)(*inputs)).values()
    if any(not isinstance(part, torch.Tensor) or part.dim() != 0 for part in parts):
        raise ValueError("it does not give a single number.")
