"""Read any sample by its offset. This allows a true shuffle, even splits and exact resume."""

import hashlib
import os
import sys
import threading
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Self, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_specs.errors import ShardError
from data_specs.keys import Split
from data_specs.shard import EncodedSample, ShardRef
from tasks.storage.object_store import Held
from tasks.storage.object_store.store import open_plain
from tasks.storage.shards.codecs import item_in
from tasks.storage.shards.tar import read_index
from tasks.storage.shards.writer import index_file, index_path, tar_file, tar_path
from tasks.storage.workspace import Workspace

_OPEN_FILES = 512
"""Tars kept open. A process may usually have 1,024 files. Beyond the limit, a tar is opened for each read."""


class ShardReader:
    """The samples of some shards, in the order of the shards and of the samples in them.

    It reads with ``pread``, so it may be forked, pickled into workers, and used by several threads.
    """

    def __init__(self, workspace: Workspace, refs: Sequence[ShardRef], check: bool = False) -> None:
        """Read the indexes and check every tar's size.

        Args:
            workspace: The workspace of the shards.
            refs: The shards.
            check: Whether to compare every member with its SHA-256.

        Raises:
            ShardError: If a tar or an index is missing, truncated or altered.
            StoreError: If they cannot be brought here from their store.
        """
        self._refs = list(refs)
        self._paths = [tar_path(workspace, ref.name) for ref in refs]
        self._check = check
        self._open_here()
        self._held = workspace.store.hold([file for ref in refs for file in (tar_file(ref), index_file(ref))])
        for ref, path in zip(self._refs, self._paths, strict=True):
            _check_size(ref, path.stat().st_size if path.is_file() else None)
        tables = [read_index(index_path(workspace, ref.name), ref) for ref in refs]
        self._load(tables)

    def _load(self, tables: Sequence[pa.Table]) -> None:
        """Flat arrays with one row for each member, and the first row of each sample."""
        self.keys: list[str] = []
        self._lineage: list[tuple[str, Split]] = []
        shard_of_sample: list[int] = []
        first_row: list[int] = [0]
        self._members: list[str] = []
        self._digests: list[str] = []
        for shard, table in enumerate(tables):
            columns: dict[str, list[Any]] = table.select(["key", "member", "scene", "split"]).to_pydict()
            self._members.extend(sys.intern(member) for member in columns["member"])
            if self._check:
                self._digests.extend(table["sha256"].to_pylist())
            before = first_row[-1]
            for row, key in enumerate(columns["key"]):
                if row and key == columns["key"][row - 1]:
                    first_row[-1] += 1
                    continue
                self.keys.append(key)
                self._lineage.append((sys.intern(columns["scene"][row]), columns["split"][row]))
                shard_of_sample.append(shard)
                first_row.append(before + row + 1)
        self._shard_of_sample = np.array(shard_of_sample, np.int32)
        self._first_row = np.array(first_row, np.int64)
        self._offsets = _join(tables, "offset")
        self._lengths = _join(tables, "length")

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, position: int) -> EncodedSample:
        """The sample at a position.

        Raises:
            IndexError: If the position is beyond the last sample.
            ShardError: If the tar is shorter than its index says, or altered and ``check`` is on.
        """
        if not -len(self) <= position < len(self):
            raise IndexError(f"there is no sample {position}; the shards hold {len(self)}")
        position %= len(self)
        scene, split = self._lineage[position]
        return EncodedSample(self.keys[position], self._members_at(position, None), scene, split)

    def by_key(self, key: str) -> EncodedSample:
        """The sample with a key.

        Raises:
            ShardError: If no shard holds it, or two do.
        """
        return self[self._place_of(key)]

    def member_by_key(self, key: str, member: str) -> bytes:
        """One member of the sample with a key. The others are not read.

        Raises:
            ShardError: If no shard holds the sample, or two do, or it has no such member.
        """
        members = self._members_at(self._place_of(key), member)
        if member not in members:
            raise ShardError(f"sample {key} has no {member}")
        return members[member]

    def _place_of(self, key: str) -> int:
        position = self._position_of_key.get(key)
        if position is None:
            raise ShardError(f"none of these {len(self._refs)} shards holds sample {key}")
        return position

    def _members_at(self, position: int, only: str | None) -> dict[str, bytes]:
        """The members of the sample at a position, or the one that is named."""
        shard = int(self._shard_of_sample[position])
        rows = range(int(self._first_row[position]), int(self._first_row[position + 1]))
        wanted = [row for row in rows if only is None or self._members[row] == only]
        descriptor, shared = self._descriptor(shard)
        try:
            return {self._members[row]: self._read(descriptor, shard, row) for row in wanted}
        finally:
            if not shared:
                os.close(descriptor)

    @cached_property
    def _position_of_key(self) -> dict[str, int]:
        positions: dict[str, int] = {}
        for position, key in enumerate(self.keys):
            if positions.setdefault(key, position) != position:
                raise ShardError(f"two of these shards hold sample {key}")
        return positions

    def _read(self, descriptor: int, shard: int, row: int) -> bytes:
        length = int(self._lengths[row])
        data = os.pread(descriptor, length, int(self._offsets[row]))
        if len(data) != length:
            raise ShardError(f"shard {self._refs[shard].name} is truncated; run `cleanplate dataset verify`")
        if self._check and hashlib.sha256(data).hexdigest() != self._digests[row]:
            raise ShardError(
                f"shard {self._refs[shard].name} is altered in a {self._members[row]}; run `cleanplate "
                "dataset verify`"
            )
        return data

    def _descriptor(self, shard: int) -> tuple[int, bool]:
        """An open tar, and whether it stays open."""
        opened = self._descriptors.get(shard)
        if opened is not None:
            return opened, True
        with self._lock:
            if shard in self._descriptors:
                return self._descriptors[shard], True
            try:
                descriptor = open_plain(self._paths[shard])
            except OSError as error:
                name = self._refs[shard].name
                raise ShardError(
                    f"shard {name} cannot be read ({error.strerror}); check the file and its permissions"
                ) from error
            if len(self._descriptors) >= _OPEN_FILES:
                return descriptor, False
            self._descriptors[shard] = descriptor
            return descriptor, True

    def close(self) -> None:
        """Close the tars, which a cache may then remove. While they exist, reading opens them again."""
        if self._held is not None:
            self._held.close()
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if "_descriptors" in self.__dict__:
            self.close()

    def __getstate__(self) -> dict[str, Any]:
        here_only = ("_lock", "_descriptors", "_held")
        return {name: value for name, value in self.__dict__.items() if name not in here_only}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open_here()

    def _open_here(self) -> None:
        self._lock = threading.Lock()
        self._descriptors: dict[int, int] = {}
        self._held: Held | None = None


def _check_size(ref: ShardRef, size_bytes: int | None) -> None:
    if size_bytes is None:
        raise ShardError(f"shard {ref.name} is missing; run `cleanplate dataset verify`")
    if size_bytes != ref.size_bytes:
        raise ShardError(
            f"shard {ref.name} has {size_bytes} bytes, not the {ref.size_bytes} it was written with"
        )


def _join(tables: Sequence[pa.Table], column: str) -> NDArray[np.int64]:
    parts = [cast("NDArray[np.int64]", table[column].to_numpy()) for table in tables]
    return np.concatenate([np.empty(0, np.int64), *parts])


def candidate_items(workspace: Workspace, refs: Sequence[ShardRef]) -> dict[str, str]:
    """The pool item of each candidate of some shards, by the candidate's key, in the shards' order.

    Raises:
        ShardError: If a shard of an earlier version, whose items the ledger does not know, cannot be read.
    """
    held = workspace.ledger().shards.samples_in([ref.name for ref in refs])
    rows = [row for ref in refs for row in held[ref.name]]
    older = [ref for ref in refs if any(row.item is None for row in held[ref.name])]
    read: dict[str, str] = {}
    if older:
        with ShardReader(workspace, older) as reader:
            read = {key: item_in(reader.member_by_key(key, "json")) for key in reader.keys}
    return {row.key: row.item or read[row.key] for row in rows}
