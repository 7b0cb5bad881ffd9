"""A training as the terminal shows it: a bar with loss, pace and the GPU's memory, or a line a minute."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_SECONDS_BETWEEN_LINES = 60.0
"""Where standard error is no terminal."""


@contextmanager
def training_bar() -> Iterator[tuple[Callable[[str], None], Callable[[int, int, float], None]]]:
    """What prints a line above the bar, and what is told of every step; silent but in the first process."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True, quiet=os.environ.get("RANK", "0") != "0", soft_wrap=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        bar = bars.add_task("training", total=None)
        began, first, said = time.monotonic(), 0, time.monotonic()

        def step(done: int, total: int, loss: float) -> None:
            nonlocal began, first, said
            if not first:  # a resumed training's pace is that of its own steps
                began, first = time.monotonic(), done
            pace = pace_of(done - first, time.monotonic() - began, loss)
            bars.update(bar, completed=done, total=total, description=pace)
            if not console.is_terminal and (
                done == total or time.monotonic() - said > _SECONDS_BETWEEN_LINES
            ):
                said = time.monotonic()
                console.print(f"step {done:,} of {total:,}: {pace}")

        yield partial(console.print, markup=False), step


def pace_of(steps: int, seconds: float, loss: float) -> str:
    """Loss, steps a second, and the most memory that this process has held on its GPU."""
    import torch

    parts = [f"loss {loss:.4f}"]
    if steps:
        parts.append(f"{steps / seconds:.2f} steps/s")
    if torch.cuda.is_available():
        parts.append(f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB of GPU memory")
    return ", ".join(parts)
