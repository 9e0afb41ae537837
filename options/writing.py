"""Option files as text: YAML with comments. A value that YAML reads otherwise stands as text."""

from collections.abc import Mapping
from typing import Any

import yaml


def keys(text: str) -> dict[str, Any]:
    """Keys and values out of a line of YAML, `type: NAFNet, width: 64`."""
    read: dict[str, Any] = yaml.safe_load(f"{{{text}}}")
    return read


def file_text(
    header: str, options: Mapping[str, Any], comments: Mapping[str, str] | None = None
) -> str:
    """The text of an option file.

    Args:
        header: the comment at its top.
        options: its sections.
        comments: what a key's line is followed by.
    """
    head = f"{header.strip()}\n\nWritten by options/generate.py; copy it and change the copy."
    lines = [*(f"# {line}".rstrip() for line in head.splitlines()), ""]
    for key, value in options.items():
        if isinstance(value, Mapping):
            lines.append("")
        lines += _lines(key, value, 0, comments or {})
    return "\n".join(lines) + "\n"


def _lines(key: str, value: Any, depth: int, comments: Mapping[str, str]) -> list[str]:
    comment = f"  # {comments[key]}" if key in comments else ""
    start = f"{'  ' * depth}{key}:"
    if isinstance(value, Mapping):
        inner = [line for k, v in value.items() for line in _lines(k, v, depth + 1, comments)]
        return [f"{start}{comment}", *inner]
    if isinstance(value, list) and any(isinstance(item, Mapping | str | list) for item in value):
        inner = [f"{'  ' * (depth + 1)}{line}" for line in _items(value, comments)]
        return [f"{start}{comment}", *inner]
    return [f"{start} {_scalar(value)}{comment}"]


def _items(values: list[Any], comments: Mapping[str, str]) -> list[str]:
    """The lines of a list: an item each, and more where it holds mappings or lists."""
    lines = []
    for item in values:
        if isinstance(item, Mapping):
            inner = [line for key, one in item.items() for line in _lines(key, one, 0, comments)]
        else:
            inner = _items(item, comments) if isinstance(item, list) else [item]
        lines += [f"{'  ' if number else '- '}{line}" for number, line in enumerate(inner)]
    return lines


def _scalar(value: Any) -> str:
    if value is None:
        return "~"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_scalar, value))}]"
    if isinstance(value, float):
        return f"{value:f}".rstrip("0")
    if isinstance(value, str) and any(character in value for character in "{}*"):
        return f"'{value}'"
    return str(value)
