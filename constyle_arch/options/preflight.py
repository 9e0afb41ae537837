"""Checking a run's options before anything is created, archived or trained.

Every check yields the problems it finds, so that one report holds all of them. First come the
sections and the kinds of values (`structure`); once these are right, what cannot be together
(`combinations`), and what the options name is looked up, built and tried out (`trials`).
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

from basicsr.utils import logger as basicsr_logger

from constyle_arch.errors import OptionsError
from constyle_arch.models.restoration_model import RestorationModel
from constyle_arch.options import schema
from constyle_arch.options.combinations import check_combinations, check_experiment
from constyle_arch.options.data_sets import data_set
from constyle_arch.options.kinds import section_in, without_empty
from constyle_arch.options.lookup import Options, is_subclass, model_of
from constyle_arch.options.structure import check_structure
from constyle_arch.options.trials import try_out


def check_options(options: Options, *, starts: bool = True) -> None:
    """Refuse options that cannot be run.

    Args:
        options: as read from the file, with `is_train`, `dist`, `auto_resume` and the data sets'
            phases filled in.
        starts: whether the run is about to start, so that its experiment must not be there.

    Raises:
        OptionsError: with every problem found, one a line.
    """
    with _no_logger_left_behind():
        problems = list(check_structure(options))
        if not problems:  # everything stands where it should: look into it
            complete = deepcopy(options)
            fill_gaps(complete)
            problems = [*check_combinations(complete), *try_out(complete)]
            if starts:
                problems += check_experiment(complete)
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise OptionsError(f"These options cannot be run:\n{lines}")


def fill_gaps(options: Options) -> None:
    """Remove empty keys where this package reads them, so that defaults hold; add `path`.

    BasicSR's own models may need a key that is empty, such as `val.suffix`. In its files an
    optimizer's betas may be `[0, 0.99]`, of which torch takes decimal numbers alone.
    """
    options["path"] = options.get("path") or {}
    for key, section in (options.get("train") or {}).items():
        betas = section.get("betas") if str(key).startswith("optim_") and section else None
        if isinstance(betas, list):
            section["betas"] = [float(beta) if isinstance(beta, int) else beta for beta in betas]
    if is_subclass(model_of(options), RestorationModel):
        for key, field in schema.TrainingRun.model_fields.items():
            own = section_in(field.annotation) if key in ("train", "val", "logger") else None
            if own and isinstance(options.get(key), dict):
                options[key] = without_empty(options[key], own)
    for phase, section in options["datasets"].items():
        model = data_set(section["type"], trains=phase == "train")
        options["datasets"][phase] = without_empty(section, model)


@contextmanager
def _no_logger_left_behind() -> Iterator[None]:
    """Remove BasicSR's logger again: made before the run has its folder, it never writes a file."""
    logger = logging.getLogger("basicsr")
    handlers, initialized = list(logger.handlers), dict(basicsr_logger.initialized_logger)
    try:
        yield
    finally:
        logger.handlers[:] = handlers
        basicsr_logger.initialized_logger.clear()
        basicsr_logger.initialized_logger.update(initialized)
