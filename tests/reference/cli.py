"""docs/reference/cli.md: every command's help, as the command line itself has it."""

import re
from collections.abc import Iterator
from typing import Any

import typer

from flows.cli.main import app
from tests.reference.markdown import code, page, prose, table

INTRO = """
Every command takes `--help`. Options that a command shares with others mean the same in all of them.
A command that fails prints one sentence to standard error and exits with 1. Wrong use exits with 2.
Settings of a `--config` file are in [Config](config.md).
"""
_EXTRA = re.compile(r"\s*\[((?:default|env var|required|x[<>]|\d+<=|0<|[\d.]+<)[^\]]*)\]$")
_RANGE = re.compile(r"(-?[\d.]+)<=x<=(-?[\d.]+)")
_DEFAULT = re.compile(r"(default|env var): ([^;]+)")
_EXAMPLE = re.compile(r"^Example: (.+?)(?:\n\n|\Z)", re.MULTILINE | re.DOTALL)


def commands() -> Iterator[tuple[str, Any, Any]]:
    """Each command's words, the command, and its context, in the order of the help."""
    yield from _below("cleanplate", typer.main.get_command(app), None)


def _below(words: str, command: Any, parent: Any) -> Iterator[tuple[str, Any, Any]]:
    context = command.make_context(words.split()[-1], [], parent=parent, resilient_parsing=True)
    real = context.command  # A command that was only named until now is imported by its context.
    yield words, real, context
    for name in real.list_commands(context) if hasattr(real, "list_commands") else ():
        yield from _below(f"{words} {name}", real.get_command(context, name), context)


def render() -> str:
    """The page."""
    sections = [_section(words, command, context) for words, command, context in commands()]
    return page("Commands", INTRO, *sections)


def _section(words: str, command: Any, context: Any) -> str:
    help_text = command.help or ""
    text = prose(_EXAMPLE.sub("", help_text).strip())
    example = "".join(f"```sh\n{' '.join(found.split())}\n```\n\n" for found in _EXAMPLE.findall(help_text))
    rows = [_row(parameter, context) for parameter in command.params if _is_shown(parameter)]
    groups = command.list_commands(context) if hasattr(command, "list_commands") else ()
    inner = [
        (f"[`{words} {name}`](#{anchor(f'{words} {name}')})", _first_line(command.get_command(context, name)))
        for name in groups
    ]
    parts = [
        f"## `{words}`",
        text,
        example,
        table(("Command", "What it does"), inner),
        table(("Argument or option", "Meaning", "Default and bounds"), rows),
    ]
    return "\n\n".join(part.strip() for part in parts if part.strip())


def anchor(words: str) -> str:
    """The heading's anchor, as Python-Markdown makes it."""
    return re.sub(r"[^\w\s-]", "", words.lower()).strip().replace(" ", "-")


def _first_line(command: Any) -> str:
    return " ".join((command.help or "").split("\n\n")[0].split())


def _is_shown(parameter: Any) -> bool:
    return not getattr(parameter, "hidden", False) and parameter.name != "help"


def _row(parameter: Any, context: Any) -> tuple[str, str, str]:
    name, text = parameter.get_help_record(context)
    extras: list[str] = []
    while found := _EXTRA.search(text):
        extras.insert(0, _DEFAULT.sub(r"\1: `\2`", _RANGE.sub(r"\1 to \2", found[1])))
        text = text[: found.start()]
    return code(" ".join(name.split()).replace("...", "…")), text, "; ".join(extras)
