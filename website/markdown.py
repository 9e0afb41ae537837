"""Markdown from plain text, for pages of docs/reference/."""

import re
from collections.abc import Iterable, Sequence
from itertools import groupby

ROOT = "../.."
"""The top of the repository, as docs/reference/ links to it."""

TOKEN = re.compile(
    r"""(?P<code>`[^`]*`)"""
    r"""|(?P<mapping>(?<!\S)\{[^{}]*\}(?=[\s,.;:)]|$))"""  # as YAML writes it
    r"""|(?P<page>[\w-]+/[\w/-]+\.md)(, section (?P<section>[\w-]+))?"""
    r"""|(?<![^\s"'(])(?P<word>[^\s"'(`]\S*?)(?=["'),.;:]*(\s|$))"""
)
NO_PROSE = re.compile(r"--?[a-zA-Z]|(?=..).*[_*{}=<>]")


def prose(text: str) -> str:
    """A paragraph in one line: what is no word of a sentence becomes code, a page a link."""
    return TOKEN.sub(_marked, " ".join(text.split()))


def _marked(token: re.Match[str]) -> str:
    if token["page"]:
        anchor = f"#{slug(token['section'])}" if token["section"] else ""
        return f"[{token[0]}]({ROOT}/{token['page']}{anchor})"
    if token["mapping"] or NO_PROSE.match(token["word"] or ""):
        return code(token[0])
    return token[0]


def code(text: str) -> str:
    """Text as it is typed."""
    return f"`{text}`"


def code_block(text: str) -> str:
    """Lines as they are typed."""
    return f"```\n{text}\n```"


def plain_text(text: str) -> str:
    """Paragraphs of help: lines that are indented are typed as they stand, others are prose."""
    blocks = []
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        for indented, lines in groupby(paragraph.splitlines(), lambda line: line[:2] == "  "):
            block = "\n".join(line.removeprefix("  ") for line in lines)
            blocks.append(code_block(block) if indented else capitalised(prose(block)))
    return join(*blocks)


def capitalised(text: str) -> str:
    """Text that begins as a sentence does."""
    return text[:1].upper() + text[1:]


def slug(heading: str, separator: str = "-") -> str:
    """The anchor of a heading, as the places that show repositories make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", separator)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, or nothing where there are no rows."""
    lines = [" | ".join(cell.replace("|", r"\|") for cell in row) for row in rows]
    rule = "|".join("---" for _ in header)
    return "\n".join(f"| {line} |" for line in (" | ".join(header), rule, *lines)) if lines else ""


def join(*blocks: str) -> str:
    """Blocks with an empty line between them; empty ones are left out."""
    return "\n\n".join(filter(None, blocks))
