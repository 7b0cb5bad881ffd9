"""Verify a dataset: read every byte again and report what is missing, doubled, altered or orphaned."""

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from webdataset.tariterators import group_by_keys, tar_file_expander

from data_specs.shard import SampleRow, ShardRef
from data_specs.version import DatasetVersion, Fault, FaultKind, VerifyReport, VersionSample
from tasks.storage.dataset.versions import manifest_bytes, manifest_name, parquet_file, parse_samples
from tasks.storage.shards.tar import IndexRow
from tasks.storage.shards.writer import LOCK, index_file, publishing_alone, tar_file
from tasks.storage.workspace import Workspace

# One shard: its tar, its index and its ledger rows are compared.


def check_shard(workspace: Workspace, ref: ShardRef, rows: Sequence[SampleRow]) -> tuple[list[Fault], int]:
    """The shard's faults, and the number of bytes of tar that were read."""
    store = workspace.store
    tar_name, index_name = store.name(*tar_file(ref)), store.name(*index_file(ref))
    index: list[IndexRow] = []
    faults: list[Fault] = []
    index_data = read_or_fault(workspace, index_name, "the ledger lists it")
    if isinstance(index_data, Fault):
        faults.append(index_data)
    elif hashlib.sha256(index_data).hexdigest() != ref.index_sha256:
        faults.append(_fault("altered", index_name, "its sha256 differs from the ledger's"))
    else:
        index = [IndexRow(**row) for row in pq.read_table(pa.BufferReader(index_data)).to_pylist()]
        faults.extend(_compare_rows(index_name, ref, index, rows))
    tar = read_or_fault(workspace, tar_name, "the ledger lists it")
    if isinstance(tar, Fault):
        return [*faults, tar], 0
    if hashlib.sha256(tar).hexdigest() != ref.sha256:
        faults.append(_fault("altered", tar_name, _what_is_altered(tar, ref, index)))
    elif damaged := _damaged_members(tar, index):
        detail = f"its bytes of {damaged[0]} differ from the index"
        faults.append(_fault("altered", index_name, detail))
    elif index and _keys_by_webdataset(tar) != list(dict.fromkeys(row.key for row in index)):
        faults.append(_fault("altered", tar_name, "webdataset reads other samples than the index lists"))
    return faults, len(tar)


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
        return _fault("altered", name, "is not a file")
    return _fault("missing", name, named) if data is None else data


def _compare_rows(
    name: str, ref: ShardRef, index: Sequence[IndexRow], rows: Sequence[SampleRow]
) -> list[Fault]:
    """The index's samples must be the ledger's, in the same order."""
    in_index = list(dict.fromkeys((row.key, row.scene, row.split) for row in index))
    in_ledger = [(row.key, row.scene, row.split) for row in rows]
    if in_index == in_ledger and len(in_ledger) == ref.samples:
        return []
    lost = [key for key, *_ in in_index if key not in {key for key, *_ in in_ledger}]
    if lost:
        detail = f"the ledger lacks {len(lost)} of its samples, such as {lost[0]}"
        return [_fault("missing", name, detail)]
    return [_fault("altered", name, "its samples differ from the ledger's")]


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
    return f"its sha256 differs from the ledger's{where}"


def _damaged_members(tar: bytes, index: Sequence[IndexRow]) -> list[str]:
    view = memoryview(tar)
    return [
        f"{row.key}.{row.member}"
        for row in index
        if hashlib.sha256(view[row.offset : row.offset + row.length]).hexdigest() != row.sha256
    ]


def _fault(kind: FaultKind, what: str, detail: str) -> Fault:
    return Fault(kind=kind, what=what, detail=detail)


# One version: its manifest, its list of samples, and its shards.


def check_version(
    workspace: Workspace,
    version: DatasetVersion,
    rows_of_shard: Mapping[str, Sequence[SampleRow]],
    gone: Collection[str],
) -> list[Fault]:
    """The version's faults.

    Args:
        workspace: The workspace of the version.
        version: The ledger's record of it.
        rows_of_shard: The ledger's samples of each shard.
        gone: Shards whose tar does not exist.
    """
    faults: list[Fault] = []
    store, manifest = workspace.store, manifest_name(version.number)
    data = read_or_fault(workspace, manifest, "the ledger lists it")
    if isinstance(data, Fault):
        faults.append(data)
    elif data != manifest_bytes(version):
        faults.append(_version_fault("altered", manifest, "it differs from the ledger"))
    parquet = store.name(*parquet_file(version))
    data = read_or_fault(workspace, parquet, f"it is part of version {version.number}")
    if isinstance(data, Fault):
        return [*faults, data]
    if hashlib.sha256(data).hexdigest() != version.sha256:
        detail = f"its sha256 differs from that of version {version.number}"
        return [*faults, _version_fault("altered", parquet, detail)]
    return [*faults, *_check_samples(version, parse_samples(data), rows_of_shard, gone)]


def _check_samples(
    version: DatasetVersion,
    samples: Sequence[VersionSample],
    rows_of_shard: Mapping[str, Sequence[SampleRow]],
    gone: Collection[str],
) -> list[Fault]:
    here = f"version {version.number}"
    times = Counter(sample.key for sample in samples)
    faults = [
        _version_fault("doubled", key, f"{here} lists it {count} times")
        for key, count in times.items()
        if count > 1
    ]
    keys_of_shard: dict[str, list[str]] = {}
    for sample in samples:
        keys_of_shard.setdefault(sample.shard, []).append(sample.key)
    for shard, keys in keys_of_shard.items():
        if shard not in rows_of_shard:
            faults.append(
                _version_fault("missing", shard, f"{here} needs this shard, and the ledger does not list it")
            )
            continue
        if shard in gone:
            faults.append(
                _version_fault("missing", shard, f"{here} needs this shard, and its tar is missing")
            )
        held = {row.key for row in rows_of_shard[shard]}
        faults.extend(
            _version_fault("missing", key, f"{here} lists it, and shard {shard} lacks it")
            for key in keys
            if key not in held
        )
    return faults


def _version_fault(kind: FaultKind, what: str, detail: str) -> Fault:
    return Fault(kind=kind, what=what, detail=detail)


Progress = Callable[[int, int], None]
"""Called with the number of bytes read and the total number."""


@dataclass(frozen=True)
class _Inventory:
    """What ledger and store held at one moment."""

    shards: Sequence[tuple[ShardRef, Sequence[SampleRow]]]
    versions: Sequence[DatasetVersion]
    names: Sequence[str]
    """The names of everything in the store."""


def verify_dataset(workspace: Workspace, progress: Progress | None = None) -> VerifyReport:
    """Compare every byte and every row with the ledger.

    Writers may continue meanwhile. What they add after the start is not checked.

    Args:
        workspace: The workspace to verify.
        progress: Called after each shard.

    Raises:
        LedgerError: If the ledger cannot be read at all.
        StoreError: If the store does not answer.
    """
    inventory = _take_inventory(workspace)
    faults = [*_orphans(workspace, inventory), *_doubles(inventory)]
    total = sum(ref.size_bytes for ref, _ in inventory.shards)
    bytes_read = 0
    for ref, rows in inventory.shards:
        shard_faults, size_bytes = check_shard(workspace, ref, rows)
        faults.extend(shard_faults)
        bytes_read += size_bytes
        if progress is not None:
            progress(bytes_read, total)
    rows_of_shard = {ref.name: rows for ref, rows in inventory.shards}
    kept = set(inventory.names)
    gone = {ref.name for ref, _ in inventory.shards if workspace.store.name(*tar_file(ref)) not in kept}
    for version in inventory.versions:
        faults.extend(check_version(workspace, version, rows_of_shard, gone))
    return VerifyReport(
        shards=len(inventory.shards),
        samples=sum(len(rows) for _, rows in inventory.shards),
        versions=len(inventory.versions),
        bytes_read=bytes_read,
        faults=faults,
    )


def _take_inventory(workspace: Workspace) -> _Inventory:
    ledger = workspace.ledger()
    with publishing_alone(workspace):
        names = [*workspace.store.names("shards"), *workspace.store.names("versions")]
        shards = ledger.shards.all()
        versions = ledger.versions.all()
    return _Inventory([(ref, ledger.shards.samples_of(ref.name)) for ref in shards], versions, names)


def _orphans(workspace: Workspace, inventory: _Inventory) -> list[Fault]:
    """Files that no row of the ledger names."""
    named_by = workspace.store.name
    named = {f"shards/{LOCK}"}
    for ref, _ in inventory.shards:
        named |= {named_by(*tar_file(ref)), named_by(*index_file(ref))}
    for version in inventory.versions:
        named |= {manifest_name(version.number), named_by(*parquet_file(version))}
    return [
        Fault(kind="orphaned", what=name, detail="the ledger does not list it")
        for name in sorted(inventory.names)
        if name not in named
    ]


def _doubles(inventory: _Inventory) -> list[Fault]:
    """Samples that are in two shards of one stage."""
    first: dict[tuple[str, str], str] = {}
    faults: list[Fault] = []
    for ref, rows in inventory.shards:
        for row in rows:
            other = first.setdefault((ref.stage, row.key), ref.name)
            if other != ref.name:
                detail = f"both {other} and {ref.name} hold it"
                faults.append(Fault(kind="doubled", what=row.key, detail=detail))
    return faults
