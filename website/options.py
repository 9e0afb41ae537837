"""What an option file may hold, from the code: its keys, which `python -m website.options` writes
to docs/reference/keys.md, and what they may name, networks, data sets, losses, a page of the site.
"""

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from basicsr.utils.registry import (
    ARCH_REGISTRY,
    DATASET_REGISTRY,
    LOSS_REGISTRY,
    MODEL_REGISTRY,
    Registry,
)

import constyle_arch
from constyle_arch.data.degradations import DEGRADATIONS
from constyle_arch.models.lr_scheduler import CosineAnnealingRestartCyclicLR
from constyle_arch.options import data_sets, schema
from constyle_arch.options.kinds import REFUSED, Section
from constyle_arch.options.structure import in_words
from website.docstrings import Docstring
from website.markdown import ROOT, capitalised, code, join, prose, slug, table

INTRODUCTION = f"""\
# Components

The networks, data sets, models and losses that an option file may name. [Keys](keys.md) has what
else it holds, and [a recipe]({ROOT}/options/dehaze_constyle_restormer.yml) shows all together.
"""

KEYS = Path(__file__).parents[1] / "docs" / "reference" / "keys.md"
"""The page of the keys, which is kept in the repository."""
KEYS_INTRODUCTION = """\
<!-- written by `make options` -->

# Keys of an option file

Required keys are marked by \\*, those that must not change when a run resumes by †; defaults follow
a semicolon. Keys that are not required may be empty (`~`). [Options](../options.md) says how to use
the file."""

TOP = "## At the top"

SECTIONS: tuple[type[Section], ...] = (
    data_sets.DataSet,
    data_sets.TrainingSet,
    data_sets.Crops,
    *data_sets.DATA_SETS.values(),
    schema.Paths,
    schema.Train,
    schema.Optimizer,
    schema.Schedule,
    schema.Loss,
    schema.Contrast,
    schema.Mixing,
    schema.Validation,
    schema.Metric,
    schema.Logger,
)
"""In the order of an option file."""

PLACES = {
    "Networks: network_g": ARCH_REGISTRY,
    "Data sets: datasets.X": DATASET_REGISTRY,
    "Models: model_type": MODEL_REGISTRY,
    "Losses: train.…_opt": LOSS_REGISTRY,
}
"""Where an option file names what a registry holds."""

PARTS: dict[str, Mapping[str, type]] = {
    "Degradations: datasets.X.degradations": DEGRADATIONS,
    "Schedules: train.scheduler": {
        CosineAnnealingRestartCyclicLR.__name__: CosineAnnealingRestartCyclicLR
    },
}
"""What options reach besides."""

BRIEF = {
    "a section of keys and values": "section",
    "a folder's name:.*": "folder name",
    "true or false": "bool",
    "a whole number": "int",
    "a number": "float",
    "a list": "list",
    ", at least ": " ≥ ",
    ", 0 or more": " ≥ 0",
    " above ": " > ",
}
"""Short for what messages say of values."""

NO_OPTIONS = {"opt", "preprocess", "finetune", "encoder", "optimizer", "last_epoch"}
"""Arguments of constructors that code gives, and no option file."""


def options_page() -> str:
    """The page, in Markdown."""
    constyle_arch.register()
    blocks = [INTRODUCTION]
    places = {place: own(registry) for place, registry in PLACES.items()}
    for place, components in (places | PARTS).items():
        blocks.append(f"## {place}")
        blocks += [_component(name, component) for name, component in components.items()]
    return _linked(join(*blocks))


def own(registry: Registry) -> dict[str, type]:
    """What this package has registered."""
    return {
        name: component
        for name, component in registry
        if component.__module__.startswith("constyle_arch.")
    }


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
    if name in data_sets.DATA_SETS:
        options = _table(data_sets.DATA_SETS[name])
    else:
        options = table(("option", "default", "what"), _option_rows(component))
    lists = docstring.lists(leave_out=("Args", "Attributes"))
    return join(f"### {name}", docstring.text(), options, lists)


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
    text = yaml.safe_dump(value, default_flow_style=True, width=1000)
    return text.removesuffix("\n").removesuffix("\n...")


def keys_page() -> str:
    """The page, in Markdown: a table a section of an option file, and one of networks' options."""
    constyle_arch.register()
    sections = [block for section in SECTIONS for block in _section(section)]
    rows = []
    for name, network in own(ARCH_REGISTRY).items():
        if options := constructor_options(network):
            defaults = (f"{code(key)} {as_yaml(default)}" for key, default in options.items())
            rows.append((code(name), ", ".join(defaults)))
    networks = table(("`network_g.type`", "options, and their defaults"), rows)
    top = KEYS_INTRODUCTION, TOP, _table(schema.Run)
    return join(*top, *sections, "## `network_g`", networks) + "\n"


def _section(section: type[Section]) -> Iterator[str]:
    title, text = re.split(r"(?<=`): ", inspect.getdoc(section) or "", maxsplit=1)
    yield f"## {title}"
    yield _sentence(text)
    yield _table(section)


def _table(section: type[Section]) -> str:
    """The keys of a section, but for those that it has from one with a table of its own."""
    above = {
        key for parent in section.__mro__[1:] if parent in SECTIONS for key in parent.model_fields
    }
    keys = [key for key in section.model_fields if key not in above]
    return table(("key", "value", "what"), (_row(section, key) for key in keys))


def _row(section: type[Section], key: str) -> tuple[str, str, str]:
    field = section.model_fields[key]
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    is_shown = default not in (None, {}) and not isinstance(default, Section)
    shown = f"; {code(as_yaml(default))}" if is_shown else ""
    marks = r"\*" * field.is_required() + "†" * (REFUSED in field.metadata)
    description = " ".join((field.description or "").split())
    return f"{code(key)}{marks}", _briefly(in_words(section, key)) + shown, description


def _briefly(words: str) -> str:
    """What a value must be, in the few words that a table has room for."""
    for pattern, brief in BRIEF.items():
        words = re.sub(pattern, brief, words)
    return words


def _sentence(text: str) -> str:
    return capitalised("\n\n".join(" ".join(one.split()) for one in text.split("\n\n")))


def _linked(page: str) -> str:
    """The page with a link wherever it names something that has a heading of one word."""
    headings = re.findall(r"^### (\w+)$", page, re.MULTILINE)
    return re.sub(
        rf"`({'|'.join(headings)})`", lambda match: f"[{match[0]}](#{slug(match[1])})", page
    )


if __name__ == "__main__":
    KEYS.write_text(keys_page(), encoding="utf-8")
