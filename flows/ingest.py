"""Ingest a source: a clip, triplet files, a pool or rendered scenes become shards and a dataset version."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from prefect import flow
from prefect.artifacts import create_table_artifact
from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from data_specs.errors import FlowError, InputError, ShardError
from data_specs.shard import ShardRef
from data_specs.version import Selection
from flows.ingest_config import ClipFolderSource, IngestConfig, Source, SyntheticSource
from flows.ingest_runs import task_runs
from flows.runtime.runs import fail_cleanly
from flows.runtime.shards import say_lost
from tasks.execution.shard_task import lost_works
from tasks.sources.clip_folder import count_clips
from tasks.sources.count_files import FilesConfig, find_all
from tasks.sources.found_files import Found
from tasks.sources.ingest import Intake
from tasks.storage.dataset.additions import add_to_current
from tasks.storage.workspace import Workspace

# Ingesting as the terminal shows it: shards, samples and rejects so far.

IngestProgress = Callable[[int, int, int, int], None]
"""Told of the number of shards, of their samples, of rejects, and of records that are done so far."""

_RATE_SECONDS = 600
"""The time of which the rate is the mean. A shard takes half a minute."""


@contextmanager
def ingest_progress(kind: str, records: int | None) -> Iterator[IngestProgress]:
    """One line on standard error while it lasts: counts, rate and time left. Nothing if it is no terminal.

    Args:
        kind: The kind of source.
        records: Number of its records. None if it is not known.
    """
    columns = (
        SpinnerColumn(),
        TextColumn("ingesting {task.description}"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("elapsed,"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    console = Console(stderr=True)
    with Progress(
        *columns,
        console=console,
        disable=not sys.stderr.isatty(),
        transient=True,
        speed_estimate_period=_RATE_SECONDS,
    ) as bar:
        line = bar.add_task(kind, total=records, rate="")

        def told(shards: int, samples: int, rejects: int, done: int) -> None:
            counts = f"{kind}: {samples} samples in {shards} shards, {rejects} rejected"
            speed = bar.tasks[0].speed
            rate = f"{speed:.1f} records/s" if speed else ""
            bar.update(line, description=counts, completed=done, rate=rate)

        yield told


class IngestResult(BaseModel):
    """What the source gave."""

    model_config = ConfigDict(frozen=True)

    shards: int
    samples: int
    by_split: dict[str, int]
    found: int
    """Records (triplets, rows, images, renders) and other files: kept + refused + ignored."""
    kept: int
    """Records that are samples."""
    refused: int
    """Records that are none."""
    ignored: int
    """Files that are no part of a record."""
    rejects: dict[str, int]
    """The refused by reason."""
    ignored_by: dict[str, int]
    """The ignored by reason."""
    ignored_first: dict[str, str]
    """By reason, the first ignored file by name."""
    added: int
    """Triplets that were not in the dataset before."""
    version: int | None
    """The new dataset version; None where nothing was added."""


@dataclass
class _Gathered:
    """What the task runs gave so far."""

    shards: list[ShardRef] = field(default_factory=list)
    samples: int = 0
    rejects: Counter[str] = field(default_factory=Counter)
    done: dict[str, BaseModel] = field(default_factory=dict)
    """What each work gave, by its digest."""


@flow(name="ingest", flow_run_name="ingest {config.source.kind}")
@fail_cleanly
def ingest(config: IngestConfig) -> IngestResult:
    """Read the source into shards, a task run each; name a new dataset version where triplets came in.

    Run again it does nothing; after a kill it goes on where it stood.

    Raises:
        InputError: When the source as a whole cannot be read.
    """
    workspace = Workspace.open(config.workspace)
    config = _resolved(config)
    files = _files_of(config.source)
    with ingest_progress(config.source.kind, _record_count(config.source, files)) as progress:
        gathered = _gather(config, workspace, progress)
    by_split = workspace.ledger().shards.split_counts([ref.name for ref in gathered.shards])
    kept = sum(by_split.values())
    added, version = add_to_current(
        workspace,
        [Selection(shard) for shard in gathered.shards if shard.stage == "triplets"],
        lambda added: f"ingested {added} triplets: {config.source.kind}",
        "ingested again after a rollback",
    )
    result = IngestResult(
        shards=len(gathered.shards),
        samples=kept,
        by_split=by_split,
        found=kept + gathered.rejects.total() + (files.ignored.total() if files else 0),
        kept=kept,
        refused=gathered.rejects.total(),
        ignored=files.ignored.total() if files else 0,
        ignored_by=dict(files.ignored.most_common()) if files else {},
        ignored_first=files.first if files else {},
        rejects=dict(gathered.rejects.most_common()),
        added=added,
        version=version,
    )
    _publish(config, result)
    records = _record_count(config.source, files)
    if records is not None and records != result.kept + result.refused:
        fault = f"it held {records} records, and {result.kept} were kept and {result.refused} refused"
        raise FlowError(f"{fault}: the source changed while it was read; ingest it again")
    return result


def _files_of(source: Source) -> Found | None:
    """What the source holds, counted without reading it. None if it is no folder."""
    if isinstance(source, ClipFolderSource):
        return count_clips(source)
    return find_all(source) if isinstance(source, FilesConfig) else None


def _record_count(source: Source, files: Found | None) -> int | None:
    """The number of records that become samples or rejects. None if only reading them tells."""
    if isinstance(source, SyntheticSource):
        return source.count
    return None if files is None else files.records


def _resolved(config: IngestConfig) -> IngestConfig:
    """With the files' place as it really is: the folder that is named may be a link."""
    if not isinstance(config.source, FilesConfig | ClipFolderSource):
        return config
    path = config.source.path.expanduser().resolve()
    if not path.exists():
        raise InputError(path, "does not exist; name an existing one")
    return config.model_copy(update={"source": config.source.model_copy(update={"path": path})})


def _gather(config: IngestConfig, workspace: Workspace, progress: IngestProgress) -> _Gathered:
    """What the source gave; what Prefect remembers and the workspace lost is done again.

    Each of a source's works follows from the one before. So the ledger is asked once, at the end, for all.
    """
    again: set[str] = set()
    while True:
        gathered = _Gathered()
        for work, result, rejects in task_runs(config, workspace, again):
            gathered.done[work.digest] = result
            shard = result.shard if isinstance(result, Intake) else result
            if shard is not None:
                gathered.shards.append(shard)
                gathered.samples += shard.samples
            gathered.rejects.update(rejects)
            done = result.end.records if isinstance(result, Intake) else gathered.samples
            progress(len(gathered.shards), gathered.samples, gathered.rejects.total(), done)
        lost = lost_works(workspace, gathered.done)
        if not lost:
            return gathered
        if lost & again:
            raise ShardError(
                "shards are deleted as soon as they are made; stop the program that clears the workspace"
            )
        say_lost(lost)
        again |= lost


def _publish(config: IngestConfig, result: IngestResult) -> None:
    """The run's table: samples by split, rejects by reason."""
    rows = [{"what": "sample", "of": split, "count": number} for split, number in result.by_split.items()]
    rows += [{"what": "reject", "of": reason, "count": number} for reason, number in result.rejects.items()]
    rows += [{"what": "ignored", "of": reason, "count": n} for reason, n in result.ignored_by.items()]
    version = "no new dataset version" if result.version is None else f"dataset version {result.version}"
    create_table_artifact(
        rows,
        key="ingest",
        description=f"{config.source.kind}: {result.samples} samples in {result.shards} shards; {version}",
    )
