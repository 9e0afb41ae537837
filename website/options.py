"""The page of the options: the keys of an option file, and what may be named in it, from the code."""

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, MODEL_REGISTRY, Registry

import constyle_arch
from constyle_arch.data.degradations import DEGRADATIONS
from constyle_arch.models.acceleration import Acceleration
from constyle_arch.models.lr_scheduler import CosineAnnealingRestartCyclicLR
from constyle_arch.models.mixup import Mixup
from constyle_arch.models.momentum_contrast import MomentumContrast
from constyle_arch.options import preflight
from website.docstrings import Docstring
from website.markdown import ROOT, code, join, prose, slug, table

INTRODUCTION = f"""\
# Options

What an option file may hold: its keys, and what they may name. [Options]({ROOT}/docs/options.md) tells what each is
for, and [a recipe]({ROOT}/options/dehaze_constyle_restormer.yml) shows them together.
"""

KEYS = """\
## Keys

A run is refused where a key that it needs is missing, where a value is not of its kind, and, for the models here, where
the sections `path`, `train`, `val`, `logger` or one of `datasets` hold a key that nothing reads. `num_gpu` may be
`auto` too. With `val`, training needs `val.val_freq` and `val.save_img`. `datasets.X` is every data set; its type reads
other keys besides.
"""

PLACES = {
    "Networks: network_g": ARCH_REGISTRY,
    "Data sets: datasets.X": DATASET_REGISTRY,
    "Models: model_type": MODEL_REGISTRY,
    "Losses: train.…_opt": LOSS_REGISTRY,
}
"""Where an option file names what a registry holds."""

PARTS: dict[str, Mapping[str, type]] = {
    "Degradations: datasets.X.degradations": DEGRADATIONS,
    "Parts of training: train": {
        part.__name__: part for part in (Acceleration, MomentumContrast, Mixup, CosineAnnealingRestartCyclicLR)
    },
}
"""What options reach besides."""

NO_OPTIONS = {"opt", "preprocess", "finetune", "encoder", "optimizer", "last_epoch"}
"""Arguments of constructors that code gives, and no option file."""


def options_page() -> str:
    """The page, in Markdown."""
    constyle_arch.register()
    sections = [
        f"## {place}\n\n{join(_component(name, component) for name, component in components.items())}"
        for place, components in ({place: own(registry) for place, registry in PLACES.items()} | PARTS).items()
    ]
    return _linked(join([INTRODUCTION, KEYS, *_key_tables(), *sections]))


def own(registry: Registry) -> dict[str, type]:
    """What this package has registered."""
    return {name: component for name, component in registry if component.__module__.startswith("constyle_arch.")}


def constructor_options(component: type) -> dict[str, Any]:
    """A constructor's options and their defaults, `inspect.Parameter.empty` where there is none.

    A constructor that hands `**options` on takes its parent's too.
    """
    options: dict[str, Any] = {}
    for parent in component.__mro__:
        parameters = inspect.signature(parent).parameters.values()
        for parameter in parameters:
            if parameter.kind != parameter.VAR_KEYWORD and parameter.name not in NO_OPTIONS:
                options.setdefault(parameter.name, parameter.default)
        if not any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters):
            break
    return options


def _component(name: str, component: type) -> str:
    docstring = Docstring.of(component)
    keys = getattr(component, "KEYS", "")
    return join(
        [
            f"### {name}",
            docstring.text(),
            table(("option", "default", "what"), _option_rows(component)),
            f"**Keys:** {', '.join(map(code, keys.split()))}." if keys else "",
            docstring.lists(leave_out=("Args", "Attributes")),
        ]
    )


def _option_rows(component: type) -> Iterator[tuple[str, str, str]]:
    texts: dict[str, str] = {}
    for parent in component.__mro__:
        sections = Docstring.parse(parent.__doc__ or "").sections
        texts = {**sections.get("Args", {}), **sections.get("Attributes", {}), **texts}
    for option, default in constructor_options(component).items():
        shown = "required" if default is inspect.Parameter.empty else code(as_yaml(default))
        yield code(option), shown, prose(texts.get(option, ""))


def as_yaml(value: Any) -> str:
    """A value as an option file writes it."""
    if value is None:
        return "~"
    value = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n").removesuffix("\n...")


def _key_tables() -> Iterator[str]:
    """A table for each section of an option file."""
    always = preflight.REQUIRED | {"datasets.X.name": preflight.NAME, "datasets.X.type": preflight.TEXT}
    needed = dict.fromkeys(always, "always")
    needed |= dict.fromkeys(preflight.REQUIRED_TO_TRAIN, "to train")
    needed |= dict.fromkeys(preflight.REQUIRED_TO_TEST, "to test")
    kinds = always | preflight.REQUIRED_TO_TRAIN | preflight.REQUIRED_TO_TEST | preflight.OPTIONAL
    known = preflight.KEYS | {"datasets.X": preflight.LOADER_KEYS}
    read = [f"{section}.{key}" for section, keys in known.items() for key in keys.split()]
    sections: dict[str, list[tuple[str, str, str]]] = {}
    for path in dict.fromkeys([*kinds, *read]):
        section, _, key = path.rpartition(".")
        sections.setdefault(section, []).append((code(key), prose(kinds.get(path, "")), needed.get(path, "")))
    for section, rows in sorted(sections.items()):
        yield join([f"### {section or 'At the top'}", table(("key", "value", "needed"), rows)])


def _linked(page: str) -> str:
    """The page with a link wherever it names something that has a heading of one word."""
    headings = re.findall(r"^### (\w+)$", page, re.MULTILINE)
    return re.sub(rf"`({'|'.join(headings)})`", lambda match: f"[{match[0]}](#{slug(match[1])})", page)
