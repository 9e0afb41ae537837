"""Checking that an option file has the sections and keys it needs, with values of their kinds.

`schema` says what these are; here each departure becomes a sentence.
"""

from difflib import get_close_matches
from functools import cache
from typing import Any

from pydantic import ValidationError

from constyle_arch.options import data_sets, schema
from constyle_arch.options.data_sets import DATA_SETS
from constyle_arch.options.kinds import LIMIT, LONGEST_NAME, Section, entries_of, section_in
from constyle_arch.options.lookup import Options, Problems

OWN_MODELS = ("RestorationModel", "ConStyleModel", "PrompterModel")
"""The models whose sections hold nothing but what `schema` describes."""

SHARED = {**data_sets.TrainingSet.model_fields, **data_sets.Crops.model_fields}
"""Keys that the sets of a `MixedDataset` have from it, or have no use for."""

A_SECTION = "a section of keys and values"

OF_THE_RUN = ("is_train", "dist", "auto_resume", "archive")
"""What a run adds to its options."""


def check_structure(options: Options) -> Problems:
    """Keys that are missing, unknown or of another kind, and phases that are not of this run.

    Other models and data sets have keys of their own, which pass.
    """
    run = schema.TrainingRun if options["is_train"] else schema.TestRun
    file = {key: value for key, value in options.items() if key not in OF_THE_RUN}
    known_model = options.get("model_type", OWN_MODELS[0]) in OWN_MODELS
    yield from problems_of(run, file, "", allow_unknown=not known_model)
    if isinstance(options.get("datasets"), dict):
        yield from _check_phases(options)
        for phase, section in options["datasets"].items():
            yield from _check_data_set(phase, section, known_model)


def _check_data_set(phase: object, section: Any, known_model: bool) -> Problems:
    where, trains = f"datasets.{phase}", phase == "train"
    name = str(section.get("type")) if isinstance(section, dict) else ""
    model = data_sets.data_set(name, trains=trains)
    if not trains and name in DATA_SETS:  # keys of training alone are harmless here
        harmless = data_sets.data_set(name, trains=True).model_fields.keys() - model.model_fields
        section = {key: value for key, value in section.items() if key not in harmless}
    known = known_model and name in DATA_SETS
    yield from problems_of(model, section, where, allow_unknown=not known)
    sets = section.get("sets") if known and name == "MixedDataset" else None
    for number, one in enumerate(sets if isinstance(sets, list) else (), start=1):
        if isinstance(one, dict) and str(one.get("type")) in DATA_SETS:
            own = {key: value for key, value in one.items() if key not in SHARED}
            model = DATA_SETS[one["type"]]
            yield from problems_of(model, own, f"{where}.sets.{number}")


def _check_phases(options: Options) -> Problems:
    phases = [str(phase) for phase in options["datasets"]]
    allowed = ("train", "val") if options["is_train"] else ("test", "val")
    for phase in phases:
        if phase.split("_")[0] not in allowed or phase.startswith("train_"):
            wanted = "train, val and val_…" if options["is_train"] else "test and test_…"
            yield f"datasets.{phase} is not a section of this run; those are {wanted}."
    if options["is_train"] and "train" not in phases:
        yield f"datasets.train is missing; it must be {A_SECTION}."
    elif not phases:
        yield "datasets has no section."
    sections = [section for phase, section in options["datasets"].items() if phase != "train"]
    names = [section.get("name") for section in sections if isinstance(section, dict)]
    for name in {name for name in names if isinstance(name, str) and names.count(name) > 1}:
        yield (
            f"datasets has two sets to measure on called {name!r}; give each a name of its own, "
            "they share folders."
        )


# From pydantic's errors to sentences.


def problems_of(
    model: type[Section], section: Any, where: str, *, allow_unknown: bool = False
) -> Problems:
    """Every departure of a section from its description, once for each option."""
    try:
        model.model_validate(section)
    except ValidationError as error:
        said = set()
        for one in error.errors(include_url=False, include_context=False, include_input=False):
            keys, wanted, known = _place(model, one["loc"])
            path = ".".join(map(str, filter(None, (where, *keys))))
            if path in said or (allow_unknown and not wanted):
                continue
            said.add(path)
            if not wanted:
                near = get_close_matches(str(keys[-1]), known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}."
                yield f"{path} is not an option that is read; {hint}"
            elif one["type"] == "missing":
                yield f"{path} is missing; it must be {wanted}."
            else:
                value = section
                for key in keys:
                    value = value.get(key) if isinstance(value, dict) else None
                if isinstance(value, float) and value.is_integer() and abs(value) < LIMIT:
                    wanted = wanted.replace("whole number", "whole number without a decimal point")
                yield f"{path} is {value!r}; it must be {wanted}."


def _place(
    model: type[Section], location: tuple[Any, ...]
) -> tuple[list[Any], str, tuple[str, ...]]:
    """Follow an error's location through the sections that `schema` describes.

    Returns:
        The keys from the section that was checked to the value; what it must be, in words, empty
        for a key that is not known; and the keys there are beside it.
    """
    path: list[Any] = []
    wanted, known = A_SECTION, tuple(model.model_fields)
    section: type[Section] | None = model
    keys = list(location)
    while keys and section is not None:
        key = keys.pop(0)
        path.append(key)
        known, field = tuple(section.model_fields), section.model_fields.get(key)
        if field is not None:
            wanted = in_words(section, key) + ("" if field.is_required() else ", or left out")
            section = section_in(field.annotation)
            entries = entries_of(field.annotation)
            if entries and keys:
                path.append(keys.pop(0))
                wanted, section = A_SECTION, entries
        elif issubclass(section, schema.Train) and str(key).endswith("_opt"):
            wanted, section = f"{A_SECTION}, or left out", schema.Loss
        else:
            return path, "", known
    return path, wanted, known


@cache
def _json_schema(model: type[Section]) -> dict[str, Any]:
    return model.model_json_schema()


def in_words(model: type[Section], key: str) -> str:
    """What the value of a key must be: its type and bounds in words."""
    return _kind_in_words(_json_schema(model)["properties"][key])


def _kind_in_words(kind: dict[str, Any]) -> str:
    if "anyOf" in kind:
        kinds = (one for one in kind["anyOf"] if one.get("type") != "null")
        return ", or ".join(map(_kind_in_words, kinds))
    choices = kind.get("enum", [kind["const"]] if "const" in kind else None)
    if choices:
        *most, last = [choice for choice in choices if choice is not False]
        return f"{', '.join(most)} or {last}" if most else str(last)
    if kind.get("format") == "folder-name":
        return f"a folder's name: text without /, at most {LONGEST_NAME} bytes, not . or .. alone"
    if not kind:
        return "anything"
    if kind.get("type") == "array":
        return f"a list, each entry {_kind_in_words(kind['items'])}"
    words = {"boolean": "true or false", "string": "text"}
    if kind.get("type") in ("integer", "number"):
        noun = "a whole number" if kind["type"] == "integer" else "a number"
        return noun + _bounds_in_words(kind)
    return words.get(kind.get("type", "object"), A_SECTION)


def _bounds_in_words(kind: dict[str, Any]) -> str:
    """` in [0, 1)`, `, at least 1`, ` above 0`, or nothing; `LIMIT` is no bound."""
    low, above = kind.get("minimum"), kind.get("exclusiveMinimum")
    high, below = kind.get("maximum"), kind.get("exclusiveMaximum")
    start = low if low is not None else above
    end = high if high is not None else below
    if end is not None and abs(end) < LIMIT:
        return f" in {'(' if low is None else '['}{start:g}, {end}{']' if below is None else ')'}"
    if start is None or abs(start) >= LIMIT:
        return ""
    if above is not None:
        return f" above {start:g}"
    return f", at least {start:g}" if start else ", 0 or more"
