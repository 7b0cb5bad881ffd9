"""Verify one shard: its tar, its index and its rows in the ledger. Every byte is read and hashed once."""

import hashlib
from collections.abc import Iterable, Sequence
from tarfile import BLOCKSIZE, LNKTYPE, RECORDSIZE, REGTYPE

import numpy as np
import pyarrow as pa
from webdataset.tariterators import base_plus_ext

from data_specs.shard import SampleRow, ShardRef
from data_specs.version import Fault, FaultKind
from tasks.storage.shards.columns import coded, first_rows
from tasks.storage.shards.tar import parse_index
from tasks.storage.shards.writer import index_file, tar_file
from tasks.storage.workspace import Workspace

_COMPARED = 257
"""The first bytes of a header: name, mode, owner, length, time, checksum, type and link."""


def check_shard(workspace: Workspace, ref: ShardRef, rows: Sequence[SampleRow]) -> tuple[list[Fault], int]:
    """The shard's faults, and the number of bytes of tar that were read.

    The tar comes in blocks. The ledger's SHA-256 of tar and index vouch for their bytes. Members are hashed
    only to say what is damaged.
    """
    tar_name, index_name = (workspace.store.name(*file(ref)) for file in (tar_file, index_file))
    index, faults = _read_index(workspace, index_name, ref, rows)
    try:
        blocks = workspace.store.blocks(tar_name)
    except IsADirectoryError:
        return [*faults, fault("altered", tar_name, "is not a file")], 0
    if blocks is None:
        return [*faults, fault("missing", tar_name, "the ledger lists it")], 0
    layout = None if index is None else TarLayout(index)
    digest, headers, size_bytes = hashlib.sha256(), list[bytes](), 0
    for block in blocks:
        digest.update(block)
        if layout is not None:
            headers += layout.headers_in(block, size_bytes)
        size_bytes += len(block)
    if digest.hexdigest() != ref.sha256:
        damaged = [] if index is None else _damaged_members(workspace, tar_name, index)
        faults.append(fault("altered", tar_name, _what_is_altered(size_bytes, ref, damaged)))
    elif layout is not None:
        faults.extend(layout.faults(headers, tar_name, index_name))
        if layout.size_bytes != size_bytes:
            faults.append(fault("altered", index_name, "it lists other members than the tar holds"))
    return faults, size_bytes


def _read_index(
    workspace: Workspace, name: str, ref: ShardRef, rows: Sequence[SampleRow]
) -> tuple[pa.Table | None, list[Fault]]:
    """The index, None if its bytes are not the ledger's, and what is wrong with it."""
    data = read_or_fault(workspace, name, "the ledger lists it")
    if isinstance(data, Fault):
        return None, [data]
    if hashlib.sha256(data).hexdigest() != ref.index_sha256:
        return None, [fault("altered", name, "its sha256 differs from the ledger's")]
    table = parse_index(data)
    return table, _compare_rows(name, ref, table, rows)


def read_or_fault(workspace: Workspace, name: str, named: str) -> bytes | Fault:
    """A file's bytes as the store keeps them, or the fault that it is missing or no file.

    Args:
        workspace: The workspace of the file.
        name: Its name in the store.
        named: What says that it must exist.
    """
    try:
        data = workspace.store.read(name)
    except IsADirectoryError:
        return fault("altered", name, "is not a file")
    return fault("missing", name, named) if data is None else data


def fault(kind: FaultKind, what: str, detail: str) -> Fault:
    """A fault of a file or a sample."""
    return Fault(kind=kind, what=what, detail=detail)


def _compare_rows(name: str, ref: ShardRef, index: pa.Table, rows: Sequence[SampleRow]) -> list[Fault]:
    """The index's samples must be the ledger's, in the same order."""
    samples = index.take(first_rows(index)).select(["key", "scene", "split"]).to_pydict()
    in_index = list(zip(*samples.values(), strict=True))
    in_ledger = [(row.key, row.scene, row.split) for row in rows]
    if in_index == in_ledger and len(in_ledger) == ref.samples:
        return []
    keys = {key for key, *_ in in_ledger}
    lost = [key for key, *_ in in_index if key not in keys]
    if lost:
        detail = f"the ledger lacks {len(lost)} of its samples, such as {lost[0]}"
        return [fault("missing", name, detail)]
    return [fault("altered", name, "its samples differ from the ledger's")]


class TarLayout:
    """Where an index says that a tar's headers are, and what they must say.

    A row that points back to an earlier member is a link. It has a header, and no bytes of its own.
    """

    def __init__(self, index: pa.Table) -> None:
        key_of, keys = coded(index["key"])
        member_of, members = coded(index["member"])
        key_texts, member_texts = keys.to_pylist(), members.to_pylist()
        self.keys: list[str] = [key_texts[place] for place in key_of.tolist()]
        self.names = [
            f"{key}.{member_texts[place]}" for key, place in zip(self.keys, member_of.tolist(), strict=True)
        ]
        self._offsets, lengths = index["offset"].to_numpy(), index["length"].to_numpy()
        is_link = self._offsets[1:] <= np.maximum.accumulate(self._offsets)[:-1]
        self._is_link = np.concatenate([[False], is_link])[: len(self.names)]
        self._own_lengths = np.where(self._is_link, 0, lengths)
        steps = -(-self._own_lengths // BLOCKSIZE) * BLOCKSIZE + BLOCKSIZE
        ends = np.concatenate([[0], np.cumsum(steps)])
        self._headers_at = ends[:-1]
        self.size_bytes = -(-(int(ends[-1]) + 2 * BLOCKSIZE) // RECORDSIZE) * RECORDSIZE
        """Of the whole tar."""

    def headers_in(self, block: bytes, start: int) -> list[bytes]:
        """The headers in a block of the tar, as far as `faults` compares them.

        Args:
            block: Some of the tar's bytes, from a multiple of 512 on.
            start: Their place in the tar.
        """
        first, end = np.searchsorted(self._headers_at, [start, start + len(block)])
        return [block[at : at + _COMPARED] for at in (self._headers_at[first:end] - start).tolist()]

    def faults(self, headers: Sequence[bytes], tar_name: str, index_name: str) -> list[Fault]:
        """The first difference between the tar's headers and the index. webdataset names the samples."""
        stored: dict[int, str] = {}
        headers_at, is_link = self._headers_at.tolist(), self._is_link.tolist()
        rows = zip(self.keys, self.names, self._own_lengths.tolist(), self._offsets.tolist(), strict=True)
        for row, (key, name, length, offset) in enumerate(rows):
            link = stored.get(offset, "") if is_link[row] else ""
            stored.setdefault(offset, name)
            header = headers[row] if row < len(headers) else b""
            if (link or offset == headers_at[row] + BLOCKSIZE) and _says(header, name, length, link):
                continue
            held = header[:100].rstrip(b"\0").decode("ascii", "replace")
            if base_plus_ext(held)[0] != key:
                return [fault("altered", tar_name, "webdataset reads other samples than the index lists")]
            return [fault("altered", index_name, f"it differs from the tar in {name}")]
        return []


def _says(header: bytes, name: str, length: int, link: str) -> bool:
    """Whether a header names a member of this length, or a link to another one."""
    return (
        header[:100] == name.encode().ljust(100, b"\0")
        and header[124:135] == b"%011o" % length
        and header[156:257] == (LNKTYPE if link else REGTYPE) + link.encode().ljust(100, b"\0")
    )


def _what_is_altered(size_bytes: int, ref: ShardRef, damaged: Sequence[str]) -> str:
    where = f"; damaged: {', '.join(damaged[:3])}" if damaged else ""
    where += f" and {len(damaged) - 3} more" if len(damaged) > 3 else ""
    if size_bytes != ref.size_bytes:
        return f"it has {size_bytes} bytes, not {ref.size_bytes}{where}"
    return f"its sha256 differs from the ledger's{where}"


def _damaged_members(workspace: Workspace, tar_name: str, index: pa.Table) -> list[str]:
    """The members whose bytes differ from the index, from a second reading of the tar."""
    blocks = workspace.store.blocks(tar_name)
    columns = index.select(["key", "member", "offset", "length", "sha256"]).to_pydict()
    places = list(zip(columns["offset"], columns["length"], strict=True))
    digests = {} if blocks is None else _digests_at(blocks, set(places))
    members = zip(columns["key"], columns["member"], places, columns["sha256"], strict=True)
    return [f"{key}.{member}" for key, member, place, sha256 in members if digests.get(place) != sha256]


def _digests_at(blocks: Iterable[bytes], places: set[tuple[int, int]]) -> dict[tuple[int, int], str]:
    """The SHA-256 of some parts of a file, each given as (offset, length). They do not overlap."""
    waiting, digests = sorted(places, reverse=True), dict[tuple[int, int], str]()
    digest, position = hashlib.sha256(), 0
    for block in blocks:
        end = position + len(block)
        while waiting and waiting[-1][0] < end:
            offset, length = waiting[-1]
            digest.update(memoryview(block)[max(0, offset - position) : offset + length - position])
            if offset + length > end:
                break
            digests[waiting.pop()] = digest.hexdigest()
            digest = hashlib.sha256()
        position = end
    digests.update({place: digest.hexdigest() for place in waiting})
    return digests
