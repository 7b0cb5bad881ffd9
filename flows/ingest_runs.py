"""The task runs of an ingest, in order: one for each shard, and one for each part that a worker reads."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any, TypeVar

from prefect import Task
from prefect.task_runners import ThreadPoolTaskRunner

from data_specs.shard import ShardRef
from data_specs.work import ShardWork
from flows.ingest_config import ClipFolderSource, ClipSource, IngestConfig, SyntheticSource
from flows.runtime.shards import anew
from flows.runtime.timely_end import when_told
from tasks.execution.executor import InlineConfig, WorkersConfig
from tasks.execution.local_executors import kill_workers
from tasks.sources.clip_folder import clip_works, ingest_clip_shard
from tasks.sources.ingest import Cursor, IngestWork, Intake, ingest_shard
from tasks.sources.read_ahead import ReadAhead, ReadWork, Waiting, read_part_task, reading_ahead
from tasks.sources.readers import (
    FileSource,
    forget_records,
    reading_folder,
)
from tasks.sources.source_files import files_digest
from tasks.sources.synthetic.shards import RenderWork, render_shard
from tasks.sources.video import capture_shard, capture_work
from tasks.storage.atomic_files import sweep_asides
from tasks.storage.workspace import Workspace

Result = TypeVar("Result")


def task_runs(
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
        yield from _render_runs(config, workspace, source, again)
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


def _render_runs(
    config: IngestConfig, workspace: Workspace, source: SyntheticSource, again: set[str]
) -> Iterator[tuple[ShardWork, ShardRef, Mapping[str, int]]]:
    works = list(_synthetic_works(config, source))
    if isinstance(config.workers, InlineConfig):
        yield from ((work, _as_needed(render_shard, work, again)(workspace, work), {}) for work in works)
        return
    with _submitting(config.workers) as submit:
        waiting = [submit(_as_needed(render_shard, work, again), workspace, work) for work in works]
        yield from ((work, future.result(), {}) for work, future in zip(works, waiting, strict=True))


def _file_runs(
    config: IngestConfig, workspace: Workspace, source: FileSource, again: set[str]
) -> Iterator[tuple[ShardWork, Intake, Mapping[str, int]]]:
    folder = reading_folder(workspace)
    sweep_asides(folder)
    digest, start = files_digest(source, folder), Cursor()
    with _read_by_workers(config, workspace, source, digest):
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
                break
            start = intake.end
    forget_records(workspace, source, digest)


@contextmanager
def _read_by_workers(
    config: IngestConfig, workspace: Workspace, source: FileSource, digest: str
) -> Iterator[None]:
    """While it lasts, workers read parts of the source ahead of its shards, a task run each."""
    if isinstance(config.workers, InlineConfig):
        yield
        return
    first = ReadWork(
        index=0, source=source, files_digest=digest, image_format=config.image_format, first=0, stop=0
    )
    with _submitting(config.workers) as submit:
        ahead = ReadAhead(
            workspace,
            first,
            config.shard_samples,
            lambda work: submit(read_part_task, workspace, work),
            config.workers.count + 1,
        )
        with reading_ahead(ahead):
            yield
        ahead.remove_files()


@contextmanager
def _submitting(workers: WorkersConfig) -> Iterator[Callable[[Task[..., Any], Workspace, Any], Waiting]]:
    """A function that gives the work of a task to the workers, as many at once as there are."""
    when_told(kill_workers)
    with ThreadPoolTaskRunner(max_workers=workers.count) as runner:
        yield lambda task, workspace, work: runner.submit(
            task, {"workspace": workspace, "work": work, "workers": workers}
        )
