"""Verifying one shard: its tar, its index and its rows against each other."""

import hashlib
import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq
from webdataset.tariterators import group_by_keys, tar_file_expander

from data_specs.shard import SampleRow, ShardRef
from data_specs.version import Fault, FaultKind
from tasks.shards.index import IndexRow
from tasks.shards.paths import index_file, tar_file
from tasks.workspace import Workspace


def check_shard(workspace: Workspace, ref: ShardRef, rows: Sequence[SampleRow]) -> tuple[list[Fault], int]:
    """The shard's faults, and how many bytes of tar were read for them."""
    store = workspace.store
    tar_name, index_name = store.name(*tar_file(ref)), store.name(*index_file(ref))
    index: list[IndexRow] = []
    faults: list[Fault] = []
    index_data = read_or_fault(workspace, index_name, "the ledger names it")
    if isinstance(index_data, Fault):
        faults.append(index_data)
    elif hashlib.sha256(index_data).hexdigest() != ref.index_sha256:
        faults.append(_fault("altered", index_name, "its sha256 is not the ledger's"))
    else:
        index = [IndexRow(**row) for row in pq.read_table(pa.BufferReader(index_data)).to_pylist()]
        faults.extend(_compare_rows(index_name, ref, index, rows))
    tar = read_or_fault(workspace, tar_name, "the ledger names it")
    if isinstance(tar, Fault):
        return [*faults, tar], 0
    if hashlib.sha256(tar).hexdigest() != ref.sha256:
        faults.append(_fault("altered", tar_name, _what_is_altered(tar, ref, index)))
    elif damaged := _damaged_members(tar, index):
        detail = f"the index's sha256 is not that of {damaged[0]}"
        faults.append(_fault("altered", index_name, detail))
    elif index and _keys_by_webdataset(tar) != list(dict.fromkeys(row.key for row in index)):
        faults.append(_fault("altered", tar_name, "webdataset reads other samples than the index names"))
    return faults, len(tar)


def read_or_fault(workspace: Workspace, name: str, named: str) -> bytes | Fault:
    """A file's bytes as the store keeps them, or that they are missing, or no file.

    Args:
        workspace: Where it lies.
        name: As the store calls it.
        named: Who says that it must be there.
    """
    try:
        data = workspace.store.read(name)
    except IsADirectoryError:
        return _fault("altered", name, "it is no file")
    return _fault("missing", name, named) if data is None else data


def _compare_rows(
    name: str, ref: ShardRef, index: Sequence[IndexRow], rows: Sequence[SampleRow]
) -> list[Fault]:
    """The index's samples must be the ledger's, in the same order."""
    in_index = list(dict.fromkeys((row.key, row.scene, row.split) for row in index))
    in_ledger = [(row.key, row.scene, row.split) for row in rows]
    if in_index == in_ledger and len(in_ledger) == ref.samples:
        return []
    lost = [key for key, *_ in in_index if key not in {known for known, *_ in in_ledger}]
    if lost:
        detail = f"the ledger has lost {len(lost)} of its samples, {lost[0]} for one"
        return [_fault("missing", name, detail)]
    return [_fault("altered", name, "its samples are not those of the ledger")]


def _keys_by_webdataset(tar: bytes) -> list[str]:
    """The samples as a training that streams the shard sees them, by the reader that is not ours."""
    files = tar_file_expander([{"url": "shard", "stream": io.BytesIO(tar)}])
    return [sample["__key__"] for sample in group_by_keys(files)]


def _what_is_altered(tar: bytes, ref: ShardRef, index: Sequence[IndexRow]) -> str:
    damaged = _damaged_members(tar, index)
    where = f"; damaged: {', '.join(damaged[:3])}" if damaged else ""
    where += f" and {len(damaged) - 3} more" if len(damaged) > 3 else ""
    if len(tar) != ref.size_bytes:
        return f"it has {len(tar)} bytes, not {ref.size_bytes}{where}"
    return f"its sha256 is not the ledger's{where}"


def _damaged_members(tar: bytes, index: Sequence[IndexRow]) -> list[str]:
    view = memoryview(tar)
    return [
        f"{row.key}.{row.member}"
        for row in index
        if hashlib.sha256(view[row.offset : row.offset + row.length]).hexdigest() != row.sha256
    ]


def _fault(kind: FaultKind, what: str, detail: str) -> Fault:
    return Fault(kind=kind, what=what, detail=detail)
