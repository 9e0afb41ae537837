"""Docstrings in Google's style, read and turned into Markdown."""

import inspect
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from textwrap import dedent

from website.markdown import code, join, prose

SECTION = re.compile(r"^(\S.*):\n((?: .*(?:\n|$)|\n(?= ))+)", re.MULTILINE)
ENTRY = re.compile(r"^(\*{0,2}[\w.]+(?:, [\w.]+)*): +(.*(?:\n .*)*)", re.MULTILINE)


@dataclass(frozen=True)
class Docstring:
    """What a docstring says.

    Attributes:
        paragraphs: the text before and between the sections, the summary first.
        sections: for each title, such as `Args`, what it says of each name; of none where it names
            nothing.
    """

    paragraphs: tuple[str, ...]
    sections: Mapping[str, Mapping[str, str]]

    @classmethod
    def of(cls, documented: object) -> "Docstring":
        """Read the docstring of a class or a function, or an inherited one; or an empty one."""
        return cls.parse(inspect.getdoc(documented) or "")

    @classmethod
    def parse(cls, text: str) -> "Docstring":
        """Read a docstring. A section is a line that ends in a colon, and indented ones below."""
        text = inspect.cleandoc(text)
        sections = {title: _entries(dedent(body)) for title, body in SECTION.findall(text)}
        paragraphs = re.split(r"\n\s*\n", SECTION.sub("\n", text).strip())
        return cls(tuple(filter(None, paragraphs)), sections)

    def text(self) -> str:
        """The paragraphs, as Markdown."""
        return join(*map(prose, self.paragraphs))

    def lists(self, leave_out: Container[str] = ()) -> str:
        """Each section as a list under its title, as Markdown, without those to leave out."""
        lists = []
        for title, entries in self.sections.items():
            if title not in leave_out:
                lists.append(f"**{prose(title)}:**")
                lists.append("\n".join(_item(names, text) for names, text in entries.items()))
        return join(*lists)


def _entries(body: str) -> dict[str, str]:
    return dict(ENTRY.findall(body)) or {"": body}


def _item(names: str, text: str) -> str:
    named = ", ".join(map(code, names.split(", "))) + ": " if names else ""
    return f"- {named}{prose(text)}"
