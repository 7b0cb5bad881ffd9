"""Ingesting as the terminal shows it: shards, samples and rejects so far."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from data_specs.shard import ShardRef

IngestProgress = Callable[[Sequence[ShardRef], int], None]
"""Told of the shards and the number of rejects so far."""


@contextmanager
def ingest_progress(kind: str) -> Iterator[IngestProgress]:
    """One line on standard error while it lasts; nothing where that is no terminal."""
    columns = (SpinnerColumn(), TextColumn("ingesting {task.description}"), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty(), transient=True) as bar:
        line = bar.add_task(kind, total=None)

        def told(shards: Sequence[ShardRef], rejects: int) -> None:
            samples = sum(shard.samples for shard in shards)
            counts = f"{kind}: {samples} samples in {len(shards)} shards, {rejects} rejected"
            bar.update(line, description=counts)

        yield told
