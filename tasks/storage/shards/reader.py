"""Read any sample by its offset. This allows a true shuffle, even splits and exact resume."""

import hashlib
import os
import threading
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from data_specs.errors import ShardError
from data_specs.keys import Split
from data_specs.shard import EncodedSample, ShardRef
from tasks.storage.object_store import Held, stored_at
from tasks.storage.object_store.store import open_plain
from tasks.storage.shards.candidates import item_in
from tasks.storage.shards.columns import read_columns
from tasks.storage.shards.tar import png_size
from tasks.storage.shards.writer import index_file, tar_file, tar_path
from tasks.storage.workspace import Workspace

_OPEN_FILES = 512
"""Tars kept open. A process may usually have 1,024 files. Beyond the limit, a tar is opened for each read."""


class ShardReader:
    """The samples of some shards, in the order of the shards and of the samples in them.

    It reads with ``pread``, so it may be forked, pickled into workers, and used by several threads.
    """

    def __init__(
        self, workspace: Workspace, refs: Sequence[ShardRef], check: bool = False, few: bool = False
    ) -> None:
        """Read the indexes and check every tar's size.

        Args:
            workspace: The workspace of the shards.
            refs: The shards.
            check: Whether to compare every member with its SHA-256.
            few: Whether few of the samples will be read. A bucket's tars are then not fetched: a sample is
                read by its range of bytes, and checked.

        Raises:
            ShardError: If a tar or an index is missing, truncated or altered.
            StoreError: If they cannot be brought here from their store.
        """
        self._workspace = workspace
        self._refs = list(refs)
        self._paths = [tar_path(workspace, ref.name) for ref in refs]
        few = few and stored_at(workspace.root) is not None
        self._away = {shard for shard, path in enumerate(self._paths) if few and not path.exists()}
        self._check = check or few
        self._open_here()
        tars = [tar_file(ref) for shard, ref in enumerate(refs) if shard not in self._away]
        self._held = workspace.store.hold([*tars, *(index_file(ref) for ref in refs)])
        for shard, (ref, path) in enumerate(zip(self._refs, self._paths, strict=True)):
            if shard in self._away:
                _check_size(ref, workspace.store.size_of(*tar_file(ref)))
            else:
                _check_size(ref, path.stat().st_size if path.is_file() else None)
        self._index = read_columns(workspace, refs, digests=self._check)

    def __len__(self) -> int:
        return len(self._index.key)

    @property
    def keys(self) -> list[str]:
        """The key of every sample, in order. They are made anew by each call."""
        return [key.decode() for key in self._index.key.tolist()]

    def positions_in(self, split: Split) -> list[int]:
        """The positions of a split's samples. No sample is read."""
        return np.flatnonzero(self._index.split == split.encode()).tolist()

    def positions_of(self, keys: Sequence[str] | NDArray[np.bytes_]) -> NDArray[np.int64]:
        """The positions of samples by their keys, N int64.

        Args:
            keys: N keys, as texts or as an array of their bytes.

        Raises:
            ShardError: If no shard holds one of them, or two do.
        """
        wanted = np.asarray(keys, "S")
        if not len(wanted):
            return np.empty(0, np.int64)
        ordered, order = self._sorted_keys
        place = np.searchsorted(ordered, wanted)
        held = ordered[np.minimum(place, len(ordered) - 1)] == wanted if len(ordered) else place < 0
        if not held.all():
            absent = wanted[~held][0].decode()
            raise ShardError(f"none of these {len(self._refs)} shards holds sample {absent}")
        return order[place]

    def sizes_at(self, positions: NDArray[np.int64]) -> NDArray[np.int32]:
        """Height and width in pixels of the masks of N samples, N×2 int32.

        They are in the index. Of samples in shards of earlier versions, the mask is read, and not decoded.

        Raises:
            ShardError: If such a sample has no mask, or one that is no PNG.
        """
        sizes = self._index.size[positions]
        for place in np.flatnonzero(sizes[:, 0] == 0):
            position = int(positions[place])
            size = png_size(self.member_at(position, "mask.png"))
            if size is None:
                key = self._index.key[position].decode()
                raise ShardError(f"the mask of sample {key} is not a PNG; run `cleanplate dataset verify`")
            sizes[place] = size
        return sizes

    def __getitem__(self, position: int) -> EncodedSample:
        """The sample at a position.

        Raises:
            IndexError: If the position is beyond the last sample.
            ShardError: If the tar is shorter than its index says, or altered and ``check`` is on.
        """
        if not -len(self) <= position < len(self):
            raise IndexError(f"there is no sample {position}; the shards hold {len(self)}")
        position %= len(self)
        split = cast(Split, self._index.split[position].decode())
        return EncodedSample(
            self._index.key[position].decode(),
            self._members_at(position, None),
            self._index.scene[position].as_py(),
            split,
        )

    def by_key(self, key: str) -> EncodedSample:
        """The sample with a key.

        Raises:
            ShardError: If no shard holds it, or two do.
        """
        return self[int(self.positions_of([key])[0])]

    def member_at(self, position: int, member: str) -> bytes:
        """One member of the sample at a position. The others are not read.

        Raises:
            ShardError: If it has no such member.
        """
        members = self._members_at(position, member)
        if member not in members:
            raise ShardError(f"sample {self._index.key[position].decode()} has no {member}")
        return members[member]

    def member_by_key(self, key: str, member: str) -> bytes:
        """One member of the sample with a key. The others are not read.

        Raises:
            ShardError: If no shard holds the sample, or two do, or it has no such member.
        """
        return self.member_at(int(self.positions_of([key])[0]), member)

    def _members_at(self, position: int, only: str | None) -> dict[str, bytes]:
        """The members of the sample at a position, or the one that is named."""
        shard = int(self._index.shard[position])
        rows = range(int(self._index.first_row[position]), int(self._index.first_row[position + 1]))
        named = [(self._index.member_names[self._index.member[row]], row) for row in rows]
        wanted = [(name, row) for name, row in named if only is None or name == only]
        if wanted and shard in self._away:
            return self._from_store(shard, wanted)
        descriptor, shared = self._descriptor(shard)
        try:
            return {name: self._read(descriptor, shard, row) for name, row in wanted}
        finally:
            if not shared:
                os.close(descriptor)

    def _from_store(self, shard: int, wanted: Sequence[tuple[str, int]]) -> dict[str, bytes]:
        """Members of one sample by one request: they lie together, and so do an item's candidates."""
        rows = [row for _, row in wanted]
        start = int(self._index.offset[rows].min())
        end = int((self._index.offset[rows] + self._index.length[rows]).max())
        ref = self._refs[shard]
        try:
            data = self._workspace.store.part(*tar_file(ref), start, end)
        except FileNotFoundError as error:
            raise ShardError(f"shard {ref.name} is missing; run `cleanplate dataset verify`") from error
        places = {row: int(self._index.offset[row]) - start for row in rows}
        return {
            name: self._checked(data[places[row] : places[row] + int(self._index.length[row])], shard, row)
            for name, row in wanted
        }

    @cached_property
    def _sorted_keys(self) -> tuple[NDArray[np.bytes_], NDArray[np.int64]]:
        """The keys in order, and where they are."""
        order = np.argsort(self._index.key, kind="stable")
        ordered = self._index.key[order]
        twice = ordered[1:][ordered[1:] == ordered[:-1]]
        if len(twice):
            raise ShardError(f"two of these shards hold sample {twice[0].decode()}")
        return ordered, order

    def _read(self, descriptor: int, shard: int, row: int) -> bytes:
        data = os.pread(descriptor, int(self._index.length[row]), int(self._index.offset[row]))
        return self._checked(data, shard, row)

    def _checked(self, data: bytes, shard: int, row: int) -> bytes:
        if len(data) != self._index.length[row]:
            raise ShardError(f"shard {self._refs[shard].name} is truncated; run `cleanplate dataset verify`")
        if self._index.digest is not None and _digest(data) != self._index.digest[row]:
            name = self._index.member_names[self._index.member[row]]
            raise ShardError(
                f"shard {self._refs[shard].name} is altered in a {name}; run `cleanplate dataset verify`"
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


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


def _check_size(ref: ShardRef, size_bytes: int | None) -> None:
    if size_bytes is None:
        raise ShardError(f"shard {ref.name} is missing; run `cleanplate dataset verify`")
    if size_bytes != ref.size_bytes:
        raise ShardError(
            f"shard {ref.name} has {size_bytes} bytes, not the {ref.size_bytes} it was written with"
        )


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
