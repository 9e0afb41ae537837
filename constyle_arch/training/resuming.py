"""Resuming a run whose options have changed since: what must stay, and how the rest is applied."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from constyle_arch.errors import OptionsError
from constyle_arch.options.data_sets import data_set
from constyle_arch.options.kinds import REFUSED, WITHOUT_EFFECT, Resuming, Section, section_in
from constyle_arch.options.schema import TrainingRun


@dataclass
class Start:
    """What a training knows of its start besides its options.

    It goes from reading the options over resuming and the data loaders to the model, along with the
    dictionary that BasicSR hands on.

    Attributes:
        seed_was_drawn: whether `manual_seed` was left out.
        iterations_done: where the run begins.
        images: of the training set; None for a state of old, and before there is a set.
        batches: iterations of an epoch; 0 before there is a loader.
    """

    seed_was_drawn: bool = False
    iterations_done: int = 0
    images: int | None = None
    batches: int = 0


def start_of(opt: dict[str, Any]) -> Start:
    """The start of the run whose options these are."""
    start: Start = opt.setdefault("start", Start())
    return start


def paths_of(meaning: Resuming) -> list[str]:
    """The options with this meaning, such as `train.optim_g.type`; `.*` ends a section."""
    training = data_set("", trains=True)
    return [*_marked(TrainingRun, meaning, ""), *_marked(training, meaning, "datasets.train.")]


def _marked(model: type[Section], meaning: Resuming, where: str) -> list[str]:
    paths = []
    for key, field in model.model_fields.items():
        inner = section_in(field.annotation)
        if meaning in field.metadata:
            paths.append(f"{where}{key}{'.*' if inner else ''}")
        elif inner:
            paths += _marked(inner, meaning, f"{where}{key}.")
    return paths


KEPT = ("model_type", "manual_seed", "datasets.train", "network_g", "train", "world_size")
"""The options that decide what is trained."""

BREAKING = ("world_size", *paths_of(REFUSED))
"""Options without which a state cannot be resumed from."""

CLOSED_FORM = ("CosineAnnealingRestartCyclicLR", "CosineAnnealingRestartLR")
"""Schedules whose rate follows from the iteration alone, so that another one can take over
anywhere."""

Change = tuple[Any, Any]


def options_of_training(opt: Mapping[str, Any]) -> dict[str, Any]:
    """The options that decide what is trained, flat: `train.optim_g.lr` and so on; plain values."""
    flat: dict[str, Any] = {}
    left_out = paths_of(WITHOUT_EFFECT)
    for path in KEPT:
        value: Any = opt
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        _flatten(path, value, flat)
    return {path: value for path, value in flat.items() if path not in left_out}


def _flatten(path: str, value: Any, flat: dict[str, Any]) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _flatten(f"{path}.{key}", inner, flat)
    elif isinstance(value, list | tuple):
        flat[path] = [dict(item) if isinstance(item, Mapping) else item for item in value]
    elif value is not None:
        flat[path] = value


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Change]:
    """What differs, as (before, now), None for a missing option; nothing if `before` is empty."""
    if not before:
        return {}
    both = {path: (before.get(path), now.get(path)) for path in {**before, **now}}
    return {path: (old, new) for path, (old, new) in both.items() if old != new}


def check_changes(changed: Mapping[str, Change], scheduler: str, state: str) -> list[str]:
    """The changes in words, with a schedule of type `scheduler`.

    Raises:
        OptionsError: with some of them the file `state` cannot be resumed from.
    """
    breaking = BREAKING
    if scheduler not in CLOSED_FORM:
        breaking += ("train.scheduler.*", "train.optim_g.lr")
    lines = {path: f"{path}: {old!r} → {new!r}" for path, (old, new) in changed.items()}
    broken = [line for path, line in lines.items() if any(fnmatch(path, one) for one in breaking)]
    if broken:
        raise OptionsError(
            f"These options have changed since {state} was written, and the state cannot be "
            "resumed from with them:\n"
            + "\n".join(f"  - {line}" for line in broken)
            + "\nSet them back, or start again under another name (path.pretrain_network_g takes "
            "the weights along)."
        )
    return list(lines.values())


def fit_state(optimizer: Optimizer) -> None:
    """Adapt a state just loaded to the optimizer that was built.

    Its implementation, fused or not, is the one built, and moments lie in memory as their
    parameters do: fused kernels pair numbers as they lie.
    """
    own = ("fused", "foreach")
    implementation = {key: value for key, value in optimizer.defaults.items() if key in own}
    for group in optimizer.param_groups:
        group.update(implementation)
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if not isinstance(value, torch.Tensor):
                continue
            if value.shape == parameter.shape:
                state[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
            elif implementation.get("fused"):
                state[key] = value.to(parameter.device)


def apply_changes(
    changed: Mapping[str, Change],
    train_opt: Mapping[str, Any],
    optimizers: Sequence[Optimizer],
    schedulers: Sequence[LRScheduler],
    built: Sequence[Mapping[str, Any]],
) -> None:
    """Let changed options of optimizer and schedule take precedence over the state just loaded.

    Args:
        changed: see `changes`.
        train_opt: the options of now.
        optimizers: with the state loaded.
        schedulers: with the state loaded.
        built: the schedules' state dicts as built from the options of now.
    """
    prefix = "train.optim_g."
    optimizer_keys = [path.removeprefix(prefix) for path in changed if path.startswith(prefix)]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for key in optimizer_keys:
                value = train_opt["optim_g"].get(key, optimizer.defaults.get(key))
                group["initial_lr" if key == "lr" else key] = value
    if any(path.startswith("train.scheduler.") for path in changed) or "lr" in optimizer_keys:
        for scheduler, fresh in zip(schedulers, built, strict=True):
            loaded, kept = scheduler.state_dict(), ("last_epoch", "_step_count", "_last_lr")
            scheduler.load_state_dict({**fresh, **{key: loaded[key] for key in kept}})
