"""Read the indexes of many shards into flat arrays: no Python object for a sample or a member."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_specs.shard import ShardRef
from tasks.storage.shards.tar import read_index
from tasks.storage.shards.writer import index_path
from tasks.storage.workspace import Workspace


@dataclass(slots=True)
class IndexColumns:
    """N samples with M members in S shards, in the shards' order. A sample's members are neighbours."""

    shard: NDArray[np.int32]
    """N: each sample's shard, as its place among the shards."""
    key: NDArray[np.bytes_]
    """N."""
    scene: pa.Array
    """N texts."""
    split: NDArray[np.bytes_]
    """N."""
    size: NDArray[np.int32]
    """N×2: height and width of the mask in pixels, 0 in the indexes of earlier versions."""
    first_row: NDArray[np.int64]
    """N+1: each sample's first member, and M."""
    member_names: list[str]
    """The distinct names of members."""
    member: NDArray[np.int16]
    """M: each member's name, as its place in ``member_names``."""
    offset: NDArray[np.int64]
    """M: the member's place in its shard's tar, in bytes."""
    length: NDArray[np.int64]
    """M bytes."""
    digest: NDArray[np.bytes_] | None
    """M SHA-256 in hexadecimal, if they were asked for."""


@dataclass(slots=True)
class _Part:
    """The same of one shard. ``first_row`` has N places, from 0."""

    key: NDArray[np.bytes_]
    scene: pa.Array
    split: NDArray[np.bytes_]
    size: NDArray[np.int32]
    first_row: NDArray[np.int64]
    member: NDArray[np.int16]
    offset: NDArray[np.int64]
    length: NDArray[np.int64]
    digest: NDArray[np.bytes_] | None


def read_columns(workspace: Workspace, refs: Sequence[ShardRef], digests: bool) -> IndexColumns:
    """Read the indexes, one in memory at a time, and check them against the ledger's records.

    Args:
        workspace: The workspace of the shards.
        refs: The shards.
        digests: Whether to read the members' SHA-256.

    Raises:
        ShardError: If an index is missing, altered, or not an index.
    """
    names: dict[str, int] = {}
    without = () if digests else ("sha256",)
    parts = [_part(read_index(index_path(workspace, ref.name), ref, without), names) for ref in refs]
    rows = np.array([0, *(len(part.member) for part in parts)]).cumsum()
    for part, start in zip(parts, rows[:-1].tolist(), strict=True):
        part.first_row += start
    counts = np.array([len(part.key) for part in parts], np.int64)
    taken = {field.name: _taken(parts, field.name) for field in fields(_Part)}
    return IndexColumns(
        shard=np.repeat(np.arange(len(parts), dtype=np.int32), counts),
        key=taken["key"]("S1"),
        scene=pa.concat_arrays([pa.array([], pa.string()), *(part.scene for part in parts)]),
        split=taken["split"]("S1"),
        size=taken["size"](np.int32, (0, 2)),
        first_row=np.append(taken["first_row"](np.int64), rows[-1]),
        member_names=list(names),
        member=taken["member"](np.int16),
        offset=taken["offset"](np.int64),
        length=taken["length"](np.int64),
        digest=taken["digest"]("S1") if digests else None,
    )


def _taken(parts: Sequence[_Part], name: str) -> Callable[..., NDArray[Any]]:
    """Joins a column of all parts, and takes it from them: the two are not in memory for long."""

    def join(dtype: Any, shape: tuple[int, ...] = (0,)) -> NDArray[Any]:
        joined = np.concatenate([np.empty(shape, dtype), *(getattr(part, name) for part in parts)])
        for part in parts:
            setattr(part, name, None)
        return joined

    return join


def _part(table: pa.Table, names: dict[str, int]) -> _Part:
    """The columns of one index. New names of members are added to ``names``."""
    key_of, keys = coded(table["key"])
    first_row = first_rows(table)
    scene_of, scenes = coded(table["scene"])
    split_of, splits = coded(table["split"])
    member_of, members = coded(table["member"])
    numbers = np.array([names.setdefault(name, len(names)) for name in members.to_pylist()], np.int16)
    size = np.zeros((len(first_row), 2), np.int32)
    if "height" in table.column_names:
        for place, name in enumerate(("height", "width")):
            size[:, place] = table[name].to_numpy()[first_row]
    return _Part(
        key=as_bytes(keys)[key_of[first_row]],
        scene=scenes.take(pa.array(scene_of[first_row])),
        split=as_bytes(splits)[split_of[first_row]],
        size=size,
        first_row=first_row,
        member=numbers[member_of],
        offset=table["offset"].to_numpy(),
        length=table["length"].to_numpy(),
        digest=as_bytes(table["sha256"].combine_chunks()) if "sha256" in table.column_names else None,
    )


def first_rows(table: pa.Table) -> NDArray[np.int64]:
    """The row of each sample's first member in an index."""
    key_of, _ = coded(table["key"])
    starts = np.ones(len(key_of), bool)
    starts[1:] = key_of[1:] != key_of[:-1]
    return np.flatnonzero(starts)


def coded(column: pa.ChunkedArray) -> tuple[NDArray[np.int32], pa.Array]:
    """A column of texts as numbers, and the texts that they mean."""
    if not len(column):
        return np.empty(0, np.int32), pa.array([], pa.string())
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    array = cast(Any, column.unify_dictionaries().combine_chunks())
    return array.indices.to_numpy(zero_copy_only=False), array.dictionary


def as_bytes(texts: pa.Array) -> NDArray[np.bytes_]:
    """Texts without NUL as an array of bytes. Texts of one length are copied at once."""
    if not len(texts):
        return np.empty(0, "S1")
    offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1]
    lengths = np.diff(offsets)
    if lengths[0] == 0 or (lengths != lengths[0]).any():
        return np.array([text.encode() for text in texts.to_pylist()])
    held = np.frombuffer(texts.buffers()[2], f"S{lengths[0]}", len(texts), int(offsets[0]))
    return held.copy()
