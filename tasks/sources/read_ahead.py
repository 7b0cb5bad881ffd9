"""Let workers read a source's images ahead of the process that takes them in, in their order.

A part is a range of records. A worker writes its outcomes into a file of the workspace. The taking waits for
the file, chooses scenes, and writes the shards. How fast workers are changes no shard. A restart uses the
files that are there.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from data_specs.keys import derive_key
from data_specs.shard import ImageFormat
from data_specs.work import CODE_VERSION
from tasks.execution.shard_task import shard_task
from tasks.sources.outcomes import (
    Outcome,
    outcomes_of,
    stored_outcomes,
    unopened_outcome,
    write_outcomes,
)
from tasks.sources.readers import FileSource, reading_folder, record_table
from tasks.sources.record_table import RecordTable
from tasks.storage.workspace import Workspace


class ReadWork(BaseModel):
    """The part of a source's records that one worker reads."""

    model_config = ConfigDict(frozen=True)

    index: int = Field(ge=0)
    """Number of the part, from 0."""
    source: FileSource
    files_digest: str
    image_format: ImageFormat
    first: int
    """The first record."""
    stop: int
    """The record behind the last one."""
    classes: dict[str, int] = {}
    """Number of pool items taken from each class when the part was given out. A full class is not opened."""

    @property
    def digest(self) -> str:
        """The name of the work. What was taken before decides only what need not be read."""
        return derive_key("read", CODE_VERSION, self.model_dump_json(exclude={"classes"}))


def part_file(workspace: Workspace, work: ReadWork) -> Path:
    """The file of the part's outcomes."""
    return reading_folder(workspace) / f"{work.digest}.outcomes"


def read_part(workspace: Workspace, work: ReadWork) -> None:
    """Read a part's records, and write their outcomes. Nothing is done if their file is there.

    Raises:
        InputError: If the source cannot be read at all.
    """
    path = part_file(workspace, work)
    if path.exists():
        return
    table = record_table(workspace, work.source, work.files_digest)
    records = zip(table.opened[work.first : work.stop], table.read(work.first, work.stop), strict=True)
    opened = (record for may_open, record in records if may_open)
    write_outcomes(path, outcomes_of(work.source, opened, work.classes, work.image_format))


read_part_task = shard_task(read_part, "read", "{work.source.kind} {work.index}", cached=False)


class Waiting(Protocol):
    """A part that was given to a worker."""

    def result(self) -> Any:
        """Wait for it. Raises what reading it raised."""
        ...


class ReadAhead:
    """Gives parts to workers, a few ahead, and gives their outcomes in the records' order.

    Args:
        workspace: Keeps the parts' files.
        first: The work of part 0. Its range does not matter.
        size: Number of records that a part opens.
        submit: Gives a part to a worker.
        ahead: Number of parts that are given out at a time.
    """

    def __init__(
        self,
        workspace: Workspace,
        first: ReadWork,
        size: int,
        submit: Callable[[ReadWork], Waiting],
        ahead: int,
    ) -> None:
        self._workspace = workspace
        self._first = first
        self._size = size
        self._submit = submit
        self._ahead = ahead
        self._parts: list[ReadWork] = []
        self._given: dict[int, Waiting] = {}
        self._done = 0

    def outcomes(self, table: RecordTable, start: int, classes: Mapping[str, int]) -> Iterator[Outcome]:
        """The outcomes of the records from ``start``. Files of parts that end before it are removed.

        Args:
            table: The source's records.
            start: The first record. All before it are in shards that are committed.
            classes: Number of pool items of each class so far. It may grow meanwhile.
        """
        if not self._parts:
            self._parts = [
                self._first.model_copy(update={"index": index, "first": first, "stop": stop})
                for index, (first, stop) in enumerate(table.parts(self._size))
            ]
        self._remove_before(start)
        for work in islice(self._parts, self._done, None):
            self._give_out(work.index, classes)
            if work.index in self._given:
                self._given[work.index].result()
            yield from self._of_part(table, work, max(start, work.first))

    def remove_files(self) -> None:
        """Remove the files of all parts. To be called when every record is in a committed shard."""
        for work in self._parts[self._done :]:
            part_file(self._workspace, work).unlink(missing_ok=True)

    def _give_out(self, index: int, classes: Mapping[str, int]) -> None:
        for work in self._parts[index : index + self._ahead]:
            if work.index not in self._given:
                self._given[work.index] = self._submit(work.model_copy(update={"classes": dict(classes)}))

    def _of_part(self, table: RecordTable, work: ReadWork, first: int) -> Iterator[Outcome]:
        path, opened = part_file(self._workspace, work), table.opened[first : work.stop]
        chosen = (record for record, may in zip(table.read(first, work.stop), opened, strict=True) if may)
        if path.exists():
            read = stored_outcomes(path, chosen, skipped=int(table.opened[work.first : first].sum()))
        else:  # The worker's machine keeps its files elsewhere.
            read = outcomes_of(work.source, chosen, {}, work.image_format)
        for record, may_open in zip(table.read(first, work.stop), opened, strict=True):
            yield next(read) if may_open else unopened_outcome(work.source, record)

    def _remove_before(self, start: int) -> None:
        """Also, after a shard was lost, go back to the part that holds its first record."""
        while self._done and self._parts[self._done].first > start:
            self._done -= 1
        while self._parts[self._done].stop <= start and self._done + 1 < len(self._parts):
            part_file(self._workspace, self._parts[self._done]).unlink(missing_ok=True)
            self._given.pop(self._done, None)
            self._done += 1


_current: ContextVar[ReadAhead | None] = ContextVar("read_ahead", default=None)


def current_read_ahead() -> ReadAhead | None:
    """The workers that read for this ingest. None: each record is read when it is taken in."""
    return _current.get()


@contextmanager
def reading_ahead(ahead: ReadAhead) -> Iterator[None]:
    """While it lasts, records are taken from these workers."""
    _current.set(ahead)
    try:
        yield
    finally:
        _current.set(None)
