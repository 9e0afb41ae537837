"""The kinds of values in option files, and the section that holds keys."""

import os
from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from constyle_arch.errors import OptionsError


class Resuming(Enum):
    """What a changed option means for a run that resumes; without a mark it takes effect."""

    REFUSED = "the state cannot be resumed from with another value"
    WITHOUT_EFFECT = "it decides nothing of what is trained"


REFUSED, WITHOUT_EFFECT = Resuming

# Kinds of values. Numbers stay below what a machine calculates with exactly.

LIMIT = 10**18
LONGEST_NAME = 199  # bytes, which leaves room for what is added to it in names of files


def _without_fraction(value: Any) -> Any:
    """Option files write large numbers as `!!float 1e4`."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _as_text(value: Any) -> Any:
    """Python code names files by `pathlib.Path` as well."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _folder_name(value: str) -> str:
    if value in (".", "..") or len(value.encode()) > LONGEST_NAME:
        raise ValueError
    return value


Whole = Annotated[int, Field(gt=-LIMIT, lt=LIMIT)]
FromZero = Annotated[int, Field(ge=0, lt=LIMIT)]
FromOne = Annotated[int, Field(ge=1, lt=LIMIT)]
FromTwo = Annotated[int, Field(ge=2, lt=LIMIT)]
Iterations = Annotated[int, Field(ge=1, lt=LIMIT), BeforeValidator(_without_fraction)]
IterationsFromZero = Annotated[int, Field(ge=0, lt=LIMIT), BeforeValidator(_without_fraction)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Above0 = Annotated[float, Field(gt=0, lt=LIMIT)]
Below1 = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(min_length=1)]
FileName = Annotated[Text, BeforeValidator(_as_text)]
FolderName = Annotated[
    str,
    Field(pattern=r"^[^/\x00]+$", json_schema_extra={"format": "folder-name"}),
    AfterValidator(_folder_name),
]
Precision = Annotated[
    Literal["off", "bf16", "fp16"],
    BeforeValidator(lambda value: "off" if value is False else value),  # YAML's unquoted `off`
    WithJsonSchema({"enum": [False, "off", "bf16", "fp16"]}),
]


class Section(BaseModel):
    """A section of an option file. What may be left out may be empty (`~`) as well."""

    model_config = ConfigDict(
        extra="forbid", strict=True, use_attribute_docstrings=True, protected_namespaces=()
    )

    @classmethod
    def read(cls, section: Mapping[str, Any]) -> Self:
        """The section of a run's options; keys of other projects are left out.

        Raises:
            OptionsError: they were not checked before, and one is wrong.
        """
        known = {key: section[key] for key in cls.model_fields if key in section}
        for key, value in known.items():
            inner = section_in(cls.model_fields[key].annotation)
            if inner and inner.model_config["extra"] == "forbid" and isinstance(value, dict):
                known[key] = inner.read(value)
        try:
            return cls.model_validate(known)
        except ValidationError as error:
            from constyle_arch.options.structure import problems_of  # which describes these

            raise OptionsError(next(problems_of(cls, known, ""))) from error

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, section: Any) -> Any:
        return section if not isinstance(section, dict) else without_empty(section, cls)


def without_empty(section: dict[Any, Any], model: type[Section]) -> dict[Any, Any]:
    """The section, and those in it, without empty values of optional keys: defaults hold."""
    kept = dict(section)
    for key, field in model.model_fields.items():
        inner = section_in(field.annotation)
        if key in kept and kept[key] is None and not field.is_required():
            del kept[key]
        elif inner and isinstance(kept.get(key), dict):
            kept[key] = without_empty(kept[key], inner)
    return kept


def section_in(annotation: Any) -> type[Section] | None:
    """The section that a field's type is, if only perhaps: `S`, or `S | None`."""
    members = () if get_origin(annotation) in (dict, list) else get_args(annotation)
    for kind in (annotation, *members):
        if isinstance(kind, type) and issubclass(kind, Section):
            return kind
    return None


def entries_of(annotation: Any) -> type[Section] | None:
    """The section that each entry of a field is, where the field is a mapping of sections."""
    return section_in(get_args(annotation)[1]) if get_origin(annotation) is dict else None
