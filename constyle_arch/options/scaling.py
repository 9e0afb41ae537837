"""`--total-iter`: a run of another length, whose schedule keeps its shape."""

from itertools import accumulate, pairwise
from typing import Any, TypeGuard

Options = dict[str, Any]

COUNTS = ("T_max", "T_0", "step_size", "total_iters", "total_steps")
"""Options of schedules that count iterations."""
ENDS = ("periods", "milestones")
"""Those that list numbers of iterations."""


def scale_iterations(options: Options, total_iter: int) -> list[str]:
    """Set `train.total_iter`, and scale what is counted in iterations of the whole in proportion.

    That is the schedule's periods and milestones, the warm-up, and `constyle_iter`. Intervals of
    logging, saving and validating stay.

    Args:
        options: of a training, unchecked; changed in place.
        total_iter: the iterations to train.

    Returns:
        What has changed, in words; nothing where `total_iter` is not a number to scale from.
    """
    train_opt = _section(options, "train")
    before = train_opt.get("total_iter")
    if not _is_count(before):
        return []
    ratio = total_iter / before
    changed = [_set(train_opt, "total_iter", total_iter, "train")]
    for key in ("warmup_iter", "constyle_iter"):
        if _is_count(train_opt.get(key)):
            changed.append(_set(train_opt, key, max(1, round(train_opt[key] * ratio)), "train"))
    schedule_opt = _section(train_opt, "scheduler")
    for key, value in list(schedule_opt.items()):
        if key in COUNTS and _is_count(value):
            changed.append(_set(schedule_opt, key, max(1, round(value * ratio)), "train.scheduler"))
        elif key in ENDS and isinstance(value, list) and all(map(_is_count, value)):
            ends = accumulate(value) if key == "periods" else value
            scaled = [round(end * ratio) for end in ends]
            if key == "periods":  # whose sum is to reach the end
                scaled = [max(1, end - start) for start, end in pairwise([0, *scaled])]
            changed.append(_set(schedule_opt, key, scaled, "train.scheduler"))
    return changed


def _section(options: Options, key: str) -> Options:
    section = options.get(key)
    return section if isinstance(section, dict) else {}


def _is_count(value: Any) -> TypeGuard[float]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 1 <= value < float("inf")


def _set(section: Options, key: str, value: Any, where: str) -> str:
    before, section[key] = section[key], value
    return f"{where}.{key}: {before} → {value}"
