"""Keep a source's records in a file, in their order: they are listed and sorted once, and read by ranges.

A data set may name millions of records. A worker that reads 500 of them must not list all of them again.
The file ``NAME.records`` has a JSON text in each line. Two files beside it say where each line begins, and
whether the record's images may have to be opened.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_specs.reject import Reject, RejectReason
from tasks.sources.mulan import MulanLayer
from tasks.sources.ober import OberRow
from tasks.sources.pasted_pairs import Photograph
from tasks.sources.pool_items import PoolLimits, PoolRecord
from tasks.sources.rord import RordFrame
from tasks.sources.triplet_files import TripletFiles
from tasks.storage.atomic_files import aside_path

SourceRecord = TripletFiles | PoolRecord | Photograph | RordFrame | MulanLayer | OberRow
"""What a sample is read from. Nothing has been opened."""
_TYPES: tuple[type[Any], ...] = (
    Reject,
    TripletFiles,
    PoolRecord,
    Photograph,
    RordFrame,
    MulanLayer,
    OberRow,
)
_FIELDS: dict[type[Any], tuple[str, ...]] = {
    Reject: tuple(Reject.model_fields),
    **{kind: tuple(field.name for field in fields(kind)) for kind in _TYPES if kind is not Reject},
}
_NUMBERS = {kind: number for number, kind in enumerate(_TYPES)}
_PART = 2_000
"""Number of records that are in memory at a time."""
_SPARE = 2
"""Records of a class that may be opened, for each item that the cap allows: some will be refused."""


@dataclass(frozen=True, slots=True)
class RecordTable:
    """The records of a source."""

    path: Path
    offsets: NDArray[np.int64]
    """N+1: the place of each record's line in the file, and the file's size."""
    opened: NDArray[np.bool_]
    """N: whether the record's images may have to be opened. False for a reject and for an excluded class."""

    def __len__(self) -> int:
        return len(self.opened)

    def read(self, first: int, stop: int | None = None) -> Iterator[SourceRecord | Reject]:
        """Records ``first`` to ``stop`` (None: the last), in order. A few are in memory at a time."""
        end = len(self) if stop is None else min(stop, len(self))
        with self.path.open("rb") as file:
            for start in range(first, end, _PART):
                after = min(start + _PART, end)
                file.seek(self.offsets[start])
                lines = file.read(self.offsets[after] - self.offsets[start]).splitlines()
                yield from map(_record, lines)

    def parts(self, size: int) -> list[tuple[int, int]]:
        """The table cut into ranges (first, stop). Each has ``size`` records to open, the last one fewer."""
        places = np.flatnonzero(self.opened)[size::size]
        bounds = [0, *places.tolist(), len(self)]
        return list(zip(bounds, bounds[1:], strict=False))


def open_table(path: Path) -> RecordTable | None:
    """The table that was written there. None if there is none."""
    if not path.exists():
        return None
    # Mapped, not loaded: a worker needs a few lines of millions.
    offsets, opened = (np.load(file, mmap_mode="r") for file in _beside(path))
    return RecordTable(path, offsets, opened)


def remove_table(path: Path) -> None:
    """Remove the table's files, if there are any."""
    for file in (path, *_beside(path)):
        file.unlink(missing_ok=True)


def _beside(path: Path) -> tuple[Path, Path]:
    """The files that say where each line begins, and which records may be opened."""
    return path.with_suffix(".offsets.npy"), path.with_suffix(".opened.npy")


def write_table(
    path: Path, records: Iterable[SourceRecord | Reject], limits: PoolLimits | None
) -> RecordTable:
    """Write the table, and open it. A process that dies meanwhile leaves no table.

    Args:
        path: Its place; the ending is ``.records``.
        records: In their order. A generator is read as it is written.
        limits: The excluded classes and the cap of a pool. None for triplets.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    offsets, opened, place = [np.zeros(1, np.int64)], [np.zeros(0, np.bool_)], 0
    may_open = _Opening(limits)
    asides = [aside_path(file) for file in (*_beside(path), path)]
    try:
        with asides[2].open("xb") as file:
            for part in _in_parts(records):
                lines = [_line(record) for record in part]
                file.write(b"".join(lines))
                ends = place + np.cumsum([len(line) for line in lines], dtype=np.int64)
                place = int(ends[-1])
                offsets.append(ends)
                opened.append(np.array([may_open(record) for record in part], np.bool_))
        for aside, arrays in zip(asides, (offsets, opened), strict=False):
            with aside.open("xb") as file:
                np.save(file, np.concatenate(arrays))
        for aside, file in zip(asides, (*_beside(path), path), strict=True):
            aside.rename(file)  # The records come last: their file says that the table is complete.
    finally:
        for aside in asides:
            aside.unlink(missing_ok=True)
    table = open_table(path)
    assert table is not None, "it was written just now"
    return table


class _Opening:
    """Decides whether a record may have to be opened."""

    def __init__(self, limits: PoolLimits | None) -> None:
        self._excluded = limits.excluded_names if limits else frozenset[str]()
        self._cap = _SPARE * limits.class_cap if limits else 0
        self._seen: Counter[str] = Counter()

    def __call__(self, record: SourceRecord | Reject) -> bool:
        if not isinstance(record, PoolRecord):
            return not isinstance(record, Reject)
        name = record.class_name
        self._seen[name] += 1
        return self._seen[name] <= self._cap and name.lower() not in self._excluded


def _in_parts(records: Iterable[SourceRecord | Reject]) -> Iterator[list[SourceRecord | Reject]]:
    part: list[SourceRecord | Reject] = []
    for record in records:
        part.append(record)
        if len(part) == _PART:
            yield part
            part = []
    if part:
        yield part


def _line(record: SourceRecord | Reject) -> bytes:
    """The number of the record's type, and its fields. Names that are not UTF-8 survive as escapes."""
    kind = type(record)
    values = [getattr(record, name) for name in _FIELDS[kind]]
    return json.dumps([_NUMBERS[kind], *values], separators=(",", ":")).encode() + b"\n"


def _record(line: bytes) -> SourceRecord | Reject:
    number, *values = json.loads(line)
    kind = _TYPES[number]
    facts = dict(zip(_FIELDS[kind], values, strict=True))
    if kind is Reject:
        facts["reason"] = RejectReason(facts["reason"])
    return kind(**facts)
