"""Verify one shard: its tar, its index and its rows in the ledger. Every byte is read and hashed once."""

import hashlib
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from webdataset.tariterators import group_by_keys

from data_specs.shard import SampleRow, ShardRef
from data_specs.version import Fault, FaultKind
from tasks.storage.shards.tar import IndexRow
from tasks.storage.shards.writer import index_file, tar_file
from tasks.storage.workspace import Workspace


def check_shard(workspace: Workspace, ref: ShardRef, rows: Sequence[SampleRow]) -> tuple[list[Fault], int]:
    """The shard's faults, and the number of bytes of tar that were read.

    The tar comes in blocks. The ledger's SHA-256 of tar and index vouch for their bytes. Members are hashed
    only to say what is damaged.
    """
    store = workspace.store
    tar_name, index_name = store.name(*tar_file(ref)), store.name(*index_file(ref))
    index: list[IndexRow] = []
    faults: list[Fault] = []
    index_data = read_or_fault(workspace, index_name, "the ledger lists it")
    if isinstance(index_data, Fault):
        faults.append(index_data)
    elif hashlib.sha256(index_data).hexdigest() != ref.index_sha256:
        faults.append(fault("altered", index_name, "its sha256 differs from the ledger's"))
    else:
        index = [IndexRow(**row) for row in pq.read_table(pa.BufferReader(index_data)).to_pylist()]
        faults.extend(_compare_rows(index_name, ref, index, rows))
    try:
        blocks = store.blocks(tar_name)
    except IsADirectoryError:
        return [*faults, fault("altered", tar_name, "is not a file")], 0
    if blocks is None:
        return [*faults, fault("missing", tar_name, "the ledger lists it")], 0
    digest, tar = hashlib.sha256(), TarWalk()
    for block in blocks:
        digest.update(block)
        tar.feed(block)
    if digest.hexdigest() != ref.sha256:
        detail = _what_is_altered(tar.size_bytes, ref, _damaged_members(workspace, tar_name, index))
        faults.append(fault("altered", tar_name, detail))
    elif index:
        faults.extend(_compare_members(tar, tar_name, index_name, index))
    return faults, tar.size_bytes


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


def _compare_rows(
    name: str, ref: ShardRef, index: Sequence[IndexRow], rows: Sequence[SampleRow]
) -> list[Fault]:
    """The index's samples must be the ledger's, in the same order."""
    in_index = list(dict.fromkeys((row.key, row.scene, row.split) for row in index))
    in_ledger = [(row.key, row.scene, row.split) for row in rows]
    if in_index == in_ledger and len(in_ledger) == ref.samples:
        return []
    keys = {key for key, *_ in in_ledger}
    lost = [key for key, *_ in in_index if key not in keys]
    if lost:
        detail = f"the ledger lacks {len(lost)} of its samples, such as {lost[0]}"
        return [fault("missing", name, detail)]
    return [fault("altered", name, "its samples differ from the ledger's")]


@dataclass(frozen=True, slots=True)
class TarMember:
    """A member as the tar's header has it. A link has the place of the member that it names."""

    name: str
    offset: int
    length: int
    is_link: bool


class TarWalk:
    """The members of a tar that comes in blocks. Their bytes are passed over, and not kept."""

    def __init__(self) -> None:
        self.members: list[TarMember] = []
        self.size_bytes = 0
        self.is_broken = False
        """Whether a header could not be read. What follows it is passed over."""
        self._header = b""
        self._skip = 0
        self._named: dict[str, TarMember] = {}

    def feed(self, block: bytes) -> None:
        """Read the headers in the next block."""
        start, length = 0, len(block)
        while start < length and not self.is_broken:
            if self._skip:
                step = min(self._skip, length - start)
                self._skip -= step
            else:
                step = min(tarfile.BLOCKSIZE - len(self._header), length - start)
                self._header += block[start : start + step]
                if len(self._header) == tarfile.BLOCKSIZE:
                    self._take(self.size_bytes + start + step)
            start += step
        self.size_bytes += length

    def _take(self, offset: int) -> None:
        """Read a header whose member's bytes begin at an offset."""
        header, self._header = self._header, b""
        if header.count(0) == tarfile.BLOCKSIZE:
            return
        try:
            name, target = _text(header[:100]), _text(header[157:257])
            length = int(_text(header[124:136]), 8)
            if header[156:157] == tarfile.LNKTYPE:
                first = self._named[target]
                member = TarMember(name, first.offset, first.length, is_link=True)
            else:
                member = self._named[name] = TarMember(name, offset, length, is_link=False)
        except (ValueError, KeyError):
            self.is_broken = True
            return
        self.members.append(member)
        self._skip = length + -length % tarfile.BLOCKSIZE

    def keys_by_webdataset(self) -> list[str]:
        """The samples as a training that streams the shard sees them, grouped by webdataset itself."""
        files = [
            {"__url__": "shard", "fname": member.name, "data": b""}
            for member in self.members
            if not member.is_link
        ]
        return [sample["__key__"] for sample in group_by_keys(files)]


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("ascii").strip()


def _compare_members(tar: TarWalk, tar_name: str, index_name: str, index: Sequence[IndexRow]) -> list[Fault]:
    """The index must list the tar's members, at their places."""
    if tar.keys_by_webdataset() != list(dict.fromkeys(row.key for row in index)):
        return [fault("altered", tar_name, "webdataset reads other samples than the index lists")]
    listed = [(f"{row.key}.{row.member}", row.offset, row.length) for row in index]
    held = [(member.name, member.offset, member.length) for member in tar.members]
    if listed == held:
        return []
    other = next((name for name, *_ in sorted({*listed} ^ {*held})), index_name)
    return [fault("altered", index_name, f"it differs from the tar in {other}")]


def _what_is_altered(size_bytes: int, ref: ShardRef, damaged: Sequence[str]) -> str:
    where = f"; damaged: {', '.join(damaged[:3])}" if damaged else ""
    where += f" and {len(damaged) - 3} more" if len(damaged) > 3 else ""
    if size_bytes != ref.size_bytes:
        return f"it has {size_bytes} bytes, not {ref.size_bytes}{where}"
    return f"its sha256 differs from the ledger's{where}"


def _damaged_members(workspace: Workspace, tar_name: str, index: Sequence[IndexRow]) -> list[str]:
    """The members whose bytes differ from the index, from a second reading of the tar."""
    blocks = workspace.store.blocks(tar_name)
    digests = {} if blocks is None else _digests_at(blocks, {(row.offset, row.length) for row in index})
    return [f"{row.key}.{row.member}" for row in index if digests.get((row.offset, row.length)) != row.sha256]


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
