"""Ingest a source: a clip, triplet files, a pool or rendered scenes become shards and a dataset version."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from prefect import Task, flow
from prefect.artifacts import create_table_artifact
from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from data_specs.errors import FlowError, InputError, ShardError
from data_specs.shard import ShardRef
from data_specs.version import Selection
from data_specs.work import ShardWork
from flows.runtime.runs import fail_cleanly
from flows.runtime.shards import anew, say_lost
from tasks.execution.shard_task import lost_works
from tasks.sources.clip.clip import ClipConfig
from tasks.sources.clip_folder import ClipFolderConfig, clip_works, count_clips, ingest_clip_shard
from tasks.sources.found_files import Found
from tasks.sources.ingest import (
    CocoSource,
    Cursor,
    FilesConfig,
    FileSource,
    FolderSource,
    HighResolutionSource,
    IngestWork,
    Intake,
    MetaJsonSource,
    MulanSource,
    OberSource,
    PoolSource,
    RordSource,
    Sa1bSource,
    find_all,
    ingest_shard,
)
from tasks.sources.source_files import files_digest
from tasks.sources.synthetic.samples import SyntheticConfig
from tasks.sources.synthetic.shards import RenderWork, render_shard
from tasks.sources.video import capture_shard, capture_work
from tasks.storage.dataset.additions import add_to_current
from tasks.storage.shards import ImageFormat
from tasks.storage.workspace import Workspace

# Ingesting as the terminal shows it: shards, samples and rejects so far.

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


Result = TypeVar("Result")


class ClipSource(ClipConfig):
    """A fixed-camera video."""

    kind: Literal["clip"] = "clip"


class ClipFolderSource(ClipFolderConfig):
    """A folder of fixed-camera videos."""

    kind: Literal["clips"] = "clips"


class SyntheticSource(BaseModel):
    """Rendered samples."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["synthetic"] = "synthetic"
    renderer: SyntheticConfig = Field(default=SyntheticConfig(), description="Settings of the renderer.")
    count: int = Field(default=1000, ge=1, le=10_000_000, description="Number of samples.")
    stage: Literal["triplets", "pool"] = Field(
        default="triplets",
        description="Kind of sample. triplets: pairs for the dataset. pool: unlabelled items, with their "
        "ground truth stored apart.",
    )


Source = (
    ClipSource
    | ClipFolderSource
    | FolderSource
    | MetaJsonSource
    | PoolSource
    | HighResolutionSource
    | RordSource
    | MulanSource
    | CocoSource
    | Sa1bSource
    | OberSource
    | SyntheticSource
)


class IngestConfig(BaseModel):
    """Where samples come from, and how they are stored."""

    model_config = ConfigDict(frozen=True)

    workspace: Path = Field(
        default=Path("workspace"), description="The folder with the ledger, the shards and the versions."
    )
    source: Annotated[Source, Field(discriminator="kind", description="The source of the samples.")]
    shard_samples: int = Field(
        default=500,
        ge=1,
        le=100_000,
        description="Number of samples in a shard. A clip is one shard. Aim at 10 to 30 s of work for "
        "each shard.",
    )
    image_format: ImageFormat = Field(
        default="png",
        description="Format of the stored images. png: lossless. jpeg: quality 95, a quarter of the size.",
    )


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
    with ingest_progress(config.source.kind) as progress:
        gathered = _gather(config, workspace, progress)
    ledger = workspace.ledger()
    rows = [row for ref in gathered.shards for row in ledger.shards.samples_of(ref.name)]
    added, version = add_to_current(
        workspace,
        [Selection(shard) for shard in gathered.shards if shard.stage == "triplets"],
        lambda added: f"ingested {added} triplets: {config.source.kind}",
        "ingested again after a rollback",
    )
    result = IngestResult(
        shards=len(gathered.shards),
        samples=len(rows),
        by_split=dict(sorted(Counter(row.split for row in rows).items())),
        found=len(rows) + gathered.rejects.total() + (files.ignored.total() if files else 0),
        kept=len(rows),
        refused=gathered.rejects.total(),
        ignored=files.ignored.total() if files else 0,
        ignored_by=dict(files.ignored.most_common()) if files else {},
        ignored_first=files.first if files else {},
        rejects=dict(gathered.rejects.most_common()),
        added=added,
        version=version,
    )
    _publish(config, result)
    records = config.source.count if isinstance(config.source, SyntheticSource) else files and files.records
    if records is not None and records != result.kept + result.refused:
        fault = f"it held {records} records, and {result.kept} were kept and {result.refused} refused"
        raise FlowError(f"{fault}: the source changed while it was read; ingest it again")
    return result


def _files_of(source: Source) -> Found | None:
    """What the source holds, counted without reading it. None if it is no folder."""
    if isinstance(source, ClipFolderSource):
        return count_clips(source)
    return find_all(source) if isinstance(source, FilesConfig) else None


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
        for work, result, rejects in _task_runs(config, workspace, again):
            gathered.done[work.digest] = result
            shard = result.shard if isinstance(result, Intake) else result
            if shard is not None:
                gathered.shards.append(shard)
            gathered.rejects.update(rejects)
            progress(gathered.shards, gathered.rejects.total())
        lost = lost_works(workspace, gathered.done)
        if not lost:
            return gathered
        if lost & again:
            raise ShardError(
                "shards are deleted as soon as they are made; stop the program that clears the workspace"
            )
        say_lost(lost)
        again |= lost


def _task_runs(
    config: IngestConfig, workspace: Workspace, again: set[str]
) -> Iterator[tuple[ShardWork, Intake | ShardRef, Mapping[str, int]]]:
    """Each task run's work, result and rejects; works whose digest is in ``again`` are done anew."""
    source = config.source
    if isinstance(source, ClipSource):
        yield _clip_run(config, workspace, source, again)
    elif isinstance(source, ClipFolderSource):
        for work in clip_works(source):
            work = work.model_copy(update={"image_format": config.image_format})
            intake = _as_needed(ingest_clip_shard, work, again)(workspace, work)
            yield work, intake, intake.rejects
    elif isinstance(source, SyntheticSource):
        for work in _synthetic_works(config, source):
            yield work, _as_needed(render_shard, work, again)(workspace, work), {}
    else:
        yield from _file_runs(config, workspace, source, again)


def _as_needed(task: Task[..., Result], work: ShardWork, again: set[str]) -> Task[..., Result]:
    return anew(task) if work.digest in again else task


def _clip_run(
    config: IngestConfig, workspace: Workspace, source: ClipSource, again: set[str]
) -> tuple[ShardWork, ShardRef, Mapping[str, int]]:
    work = capture_work(source, index=0).model_copy(update={"image_format": config.image_format})
    ref = _as_needed(capture_shard, work, again)(workspace, work)
    name = source.path.name
    of_clip = (
        reject.reason.value
        for reject in workspace.ledger().rejects.all()
        if reject.source == "clip"
        and (reject.name == name or reject.name.startswith((f"{name}@", f"{name}#")))
    )
    return work, ref, Counter(of_clip)


def _synthetic_works(config: IngestConfig, source: SyntheticSource) -> Iterator[RenderWork]:
    for index, first in enumerate(range(0, source.count, config.shard_samples)):
        yield RenderWork(
            round=0,
            index=index,
            image_format=config.image_format,
            stage=source.stage,
            renderer=source.renderer,
            first=first,
            count=min(config.shard_samples, source.count - first),
        )


def _file_runs(
    config: IngestConfig, workspace: Workspace, source: FileSource, again: set[str]
) -> Iterator[tuple[ShardWork, Intake, Mapping[str, int]]]:
    digest, start = files_digest(source), Cursor()
    for index in count():
        work = IngestWork(
            round=0,
            index=index,
            image_format=config.image_format,
            source=source,
            files_digest=digest,
            shard_samples=config.shard_samples,
            start=start,
        )
        intake = _as_needed(ingest_shard, work, again)(workspace, work)
        yield work, intake, intake.rejects
        if intake.finished:
            return
        start = intake.end


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
