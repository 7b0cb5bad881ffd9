"""Progress of a flow in the terminal; on standard error, so that ``--json`` stays clean."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")
_console = Console(stderr=True, highlight=False)


def say(sentence: str) -> None:
    """One line about what begins or what came out."""
    _console.print(sentence)


def tracked(items: Sequence[Item], what: str) -> Iterable[Item]:
    """The items, with a bar that goes when they are done."""
    silent = not _console.is_terminal
    return track(items, description=f"  {what}", console=_console, transient=True, disable=silent)
