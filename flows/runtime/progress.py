"""Progress of a flow, on standard error so that ``--json`` stays clean, and in Prefect's log of the run."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging import get_run_logger
from rich.console import Console
from rich.progress import track
from rich.text import Text

from data_specs.plain_text import visible

Item = TypeVar("Item")
_console = Console(stderr=True, highlight=False, markup=False)


def say(sentence: str) -> None:
    """One line about what begins or what came out; within a run, Prefect keeps it too."""
    _console.print(Text(visible(sentence)))
    if FlowRunContext.get() or TaskRunContext.get():
        get_run_logger().info(sentence)


def tracked(items: Sequence[Item], what: str) -> Iterable[Item]:
    """The items, with a bar that goes when they are done."""
    silent = not _console.is_terminal
    return track(items, description=f"  {what}", console=_console, transient=True, disable=silent)
