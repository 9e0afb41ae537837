"""The page of the commands, from their parsers."""

import argparse
from collections.abc import Iterator
from functools import partial

from constyle_arch.cli import build_parser, main
from website.docstrings import Docstring
from website.markdown import code, code_block, join, plain_text, prose, slug, table

INTRODUCTION = """\
# Commands

What `basicsr --help` and `basicsr COMMAND --help` say. `python -m constyle_arch` is `basicsr` too,
for `torchrun`.
"""

formatter = partial(argparse.RawDescriptionHelpFormatter, width=100)


def commands_page() -> str:
    """The page, in Markdown."""
    parser = build_parser()
    commands = (
        f"{'#' * depth} {command.prog}\n\n{_body(command)}"
        for depth, command in _below(parser, depth=2)
    )
    returned = " ".join(Docstring.of(main).sections["Returns"].values())
    return join(INTRODUCTION, _body(parser), *commands, f"## Exit codes\n\n{prose(returned)}")


def _below(
    parser: argparse.ArgumentParser, depth: int
) -> Iterator[tuple[int, argparse.ArgumentParser]]:
    """The commands of a parser and theirs in turn, each with the depth of its heading."""
    for commands in _commands(parser):
        for command in commands.choices.values():
            yield depth, command
            yield from _below(command, depth + 1)


def _commands(
    parser: argparse.ArgumentParser,
) -> Iterator["argparse._SubParsersAction[argparse.ArgumentParser]"]:
    return (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))


def _body(parser: argparse.ArgumentParser) -> str:
    parser.formatter_class = formatter
    usage = parser.format_usage().strip().replace("\n       ", "\n").removeprefix("usage: ")
    listed = [command for commands in _commands(parser) for command in commands._choices_actions]
    commands = (
        (f"[{one.dest}](#{slug(f'{parser.prog} {one.dest}')})", prose(one.help or ""))
        for one in listed
    )
    return join(
        plain_text(parser.description or ""),
        code_block(usage),
        table(("argument", "what"), _arguments(parser)),
        table(("command", "what"), commands),
        plain_text(parser.epilog or ""),
    )


def _arguments(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """Each argument, as it is typed, and what it is for."""
    for action in parser._actions:
        if action.help == argparse.SUPPRESS or isinstance(
            action, argparse._HelpAction | argparse._SubParsersAction
        ):
            continue
        names = ", ".join(map(code, action.option_strings))
        value = "" if action.nargs == 0 else code(_value(action))
        yield f"{names} {value}".strip(), prose(_help(parser, action))


def _value(action: argparse.Action) -> str:
    metavar = action.metavar or (
        f"{{{','.join(map(str, action.choices))}}}" if action.choices else action.dest.upper()
    )
    several = action.nargs in ("+", "*") or isinstance(action, argparse._AppendAction)
    return f"{metavar}{' …' if several else ''}"


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    text = (action.help or "") % {**vars(action), "prog": parser.prog}
    if action.option_strings and action.required:
        return f"{text}; required"
    if action.default in (None, False, "", [], argparse.SUPPRESS) or "default" in text:
        return text
    return f"{text} (default: {action.default})"
