"""The description of option files as a JSON schema, by which editors complete and check them."""

import json
from typing import Any

from basicsr.utils.registry import (
    ARCH_REGISTRY,
    DATASET_REGISTRY,
    LOSS_REGISTRY,
    METRIC_REGISTRY,
    MODEL_REGISTRY,
    Registry,
)
from pydantic.json_schema import models_json_schema

import constyle_arch
from constyle_arch.options import schema
from constyle_arch.options.data_sets import DATA_SETS, data_set
from constyle_arch.options.kinds import Section
from constyle_arch.options.structure import OWN_MODELS

Json = dict[str, Any]

PLACE = "#/definitions/"

NAMED: dict[tuple[str, str], Registry] = {
    ("Run", "model_type"): MODEL_REGISTRY,
    ("DataSet", "type"): DATASET_REGISTRY,
    ("Network", "type"): ARCH_REGISTRY,
    ("Loss", "type"): LOSS_REGISTRY,
    ("Metric", "type"): METRIC_REGISTRY,
}
"""Keys whose values an editor suggests: what is registered. Others may come from a plugin."""


def text() -> str:
    """The schema's file."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


def json_schema() -> Json:
    """A JSON schema (draft 7) of the option files of this package's models.

    Data sets of others, and whole files for other models, pass as they are.
    """
    constyle_arch.register()
    definitions = _definitions()
    for run, phases in (("TrainingRun", "val"), ("TestRun", "test|val")):
        definitions[run]["properties"]["datasets"] |= {
            "type": "object",
            "patternProperties": {f"^({phases})(_|$)": _by_type(trains=False)},
            "additionalProperties": False,
        }
    training = definitions["TrainingRun"]["properties"]["datasets"]
    training |= {"properties": {"train": _by_type(trains=True)}, "required": ["train"]}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Option file",
        "if": {"properties": {"model_type": {"enum": list(OWN_MODELS)}}},
        "then": {
            "if": {"required": ["train"]},
            "then": _at("TrainingRun"),
            "else": _at("TestRun"),
        },
        "definitions": definitions,
    }


def _definitions() -> Json:
    models: list[type[Section]] = [
        schema.TrainingRun,
        schema.TestRun,
        *(data_set(name, trains=trains) for name in ("", *DATA_SETS) for trains in (True, False)),
    ]
    _, document = models_json_schema(
        [(model, "validation") for model in models], ref_template=PLACE + "{model}"
    )
    definitions: Json = document["$defs"]
    for name, definition in definitions.items():
        properties = definition["properties"]
        required = definition.setdefault("required", [])
        for key, value in properties.items():
            value.pop("title", None)
            _suggest(value, name, key)
            if key not in required:
                properties[key] = _or_empty(value)
    for name in ("TrainingSet", "DataSet"):  # of other projects, with keys of their own
        definitions[name]["additionalProperties"] = True
    losses = definitions["Train"].pop("additionalProperties")
    definitions["Train"] |= {"patternProperties": {"_opt$": losses}, "additionalProperties": False}
    return definitions


def _suggest(value: Json, model: str, key: str) -> None:
    """Let an editor offer the names that are registered."""
    described = getattr(schema, model, data_set("", trains=False))
    parents = [parent.__name__ for parent in described.__mro__]
    for (owner, named), registry in NAMED.items():
        if key == named and owner in parents:
            names = sorted(name for name, _ in registry)
            value["anyOf"] = [{"enum": names}, {"type": value.pop("type", "string")}]


def _or_empty(value: Json) -> Json:
    """What may be left out may be empty."""
    if any(one.get("type") == "null" for one in value.get("anyOf", ())):
        return value
    about: Json = {key: value.pop(key) for key in ("description", "default") if key in value}
    return {**about, "anyOf": [value, {"type": "null"}]}


def _by_type(*, trains: bool) -> Json:
    """A data set, whose other keys follow from its `type`."""
    own = [
        {
            "if": {"properties": {"type": {"const": name}}, "required": ["type"]},
            "then": _at(data_set(name, trains=trains).__name__),
        }
        for name in DATA_SETS
    ]
    return {"allOf": [_at(data_set("", trains=trains).__name__), *own]}


def _at(name: str) -> Json:
    return {"$ref": PLACE + name}
