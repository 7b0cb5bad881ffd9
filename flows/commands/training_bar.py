"""A bar on standard error for the commands that train."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console


@contextmanager
def training_bar() -> Iterator[tuple[Callable[[str], None], Callable[[int, int, float], None]]]:
    """A bar on standard error: what prints a line above it, and what is told of every step."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        bar = bars.add_task("training", total=None)

        def step(done: int, total: int, loss: float) -> None:
            bars.update(bar, completed=done, total=total, description=f"loss {loss:.4f}")

        yield bars.console.print, step
