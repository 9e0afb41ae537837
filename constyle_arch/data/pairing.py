"""Matching degraded images to clean ones by their names, never by their order."""

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from os.path import commonprefix

from constyle_arch.errors import DataError, listed

FORMS = (("{}", "{}"), ("{}_*", "{}"), ("{}_*_*", "{}"))
"""How degraded and clean names usually correspond; what all names of a side have in common is tried
besides."""


@dataclass(frozen=True)
class Matching:
    """How the names of two sides fit.

    Args:
        pairs: (degraded name, clean name), sorted by the degraded name.
        problems: what is wrong, and with which names; empty where every degraded image has its
            clean one.
        unused: clean names without a degraded one.
        ambiguous: clean names that match as another one does; they are among the problems.
    """

    pairs: list[tuple[str, str]]
    problems: dict[str, list[str]]
    unused: list[str]
    ambiguous: list[str] = field(default_factory=list)


def compare_names(
    lq_names: Iterable[str],
    gt_names: Iterable[str],
    lq_template: str = "{}",
    gt_template: str = "{}",
) -> Matching:
    """Pair every degraded image with the clean image that has the same identity.

    The identity is what the `{}` of a template stand for in a name; `*` stands for any text. So
    `{}_*_*` and `{}` pair `0001_0.8_0.2` with `0001` (many hazy images to one clean), and `rain-{}`
    and `norain-{}` pair `rain-001` with `norain-001`.

    Args:
        lq_names: names of the degraded images, without suffix.
        gt_names: names of the clean images, without suffix.
        lq_template: the form of a degraded name.
        gt_template: the form of a clean name; it has as many `{}`.

    Raises:
        DataError: the templates do not hold the same number of `{}`.
    """
    if lq_template.count("{}") != gt_template.count("{}") or "{}" not in lq_template:
        raise DataError(
            f"lq_name {lq_template!r} and gt_name {gt_template!r} must hold the same number of "
            "{}, at least one."
        )
    lq_identities, strange_lq = _identities(lq_names, lq_template)
    gt_identities, strange_gt = _identities(gt_names, gt_template)
    clean: dict[tuple[str, ...], str] = {}
    ambiguous = [
        f"{name} (as {clean[identity]})"
        for name, identity in gt_identities.items()
        if clean.setdefault(identity, name) != name
    ]
    unmatched = [name for name, identity in lq_identities.items() if identity not in clean]
    templates = f"lq_name {lq_template!r} and gt_name {gt_template!r}"
    problems = {
        f"degraded names do not have the form of lq_name {lq_template!r}": strange_lq,
        f"clean names do not have the form of gt_name {gt_template!r}": strange_gt,
        f"clean images match gt_name {gt_template!r} as another one does": ambiguous,
        f"of {len(lq_identities)} degraded images have no clean partner by {templates}": unmatched,
    }
    used = set(lq_identities.values())
    return Matching(
        pairs=[
            (name, clean[identity])
            for name, identity in sorted(lq_identities.items())
            if identity in clean
        ],
        problems={problem: names for problem, names in problems.items() if names},
        unused=sorted(name for identity, name in clean.items() if identity not in used),
        ambiguous=ambiguous,
    )


def match_names(
    lq_names: Iterable[str],
    gt_names: Iterable[str],
    lq_template: str = "{}",
    gt_template: str = "{}",
) -> list[tuple[str, str]]:
    """The pairs of `compare_names`; clean images without degraded ones are left out with a warning.

    Raises:
        DataError: a degraded image has no partner, a name does not have its template's form, or two
            clean images have one identity.
    """
    matching = compare_names(lq_names, gt_names, lq_template, gt_template)
    if matching.problems:
        problems = matching.problems.items()
        found = [f"{len(names)} {problem}: {listed(names)}" for problem, names in problems]
        raise DataError(f"{'; '.join(found)}.")
    if unused := matching.unused:
        logging.getLogger("basicsr").warning(
            f"{len(unused)} clean images have no degraded one and are not used: {listed(unused)}"
        )
    return matching.pairs


def _identities(
    names: Iterable[str], template: str
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """The identity of each name that has the template's form, and the names that do not."""
    pattern = re.escape(template).replace(r"\{\}", "(.+)").replace(r"\*", ".*")
    matches = {name: re.fullmatch(pattern, name, re.DOTALL) for name in names}
    identities = {name: match.groups() for name, match in matches.items() if match is not None}
    return identities, [name for name, match in matches.items() if match is None]


def matching_forms(lq_names: Sequence[str], gt_names: Sequence[str]) -> tuple[str, str]:
    """The forms by which most names match; of equal ones the plainest."""

    def unmatched(forms: tuple[str, str]) -> int:
        return sum(map(len, compare_names(lq_names, gt_names, *forms).problems.values()))

    tried = (*FORMS, (_common_form(lq_names), _common_form(gt_names)))
    fitting = (forms for forms in tried if not unmatched(forms))
    return next(fitting, None) or min(tried, key=unmatched)


def _common_form(names: Sequence[str]) -> str:
    """`rain-{}x2` for `rain-1x2`, `rain-2x2`; digits are what differs."""
    start = _shared_start(names)
    end = _shared_start([name[len(start) :][::-1] for name in names])[::-1]
    return f"{start}{{}}{end}"


def _shared_start(names: Sequence[str]) -> str:
    return commonprefix(list(names)).rstrip("0123456789")  # noqa: RUF071  # characters are meant
