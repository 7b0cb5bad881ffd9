"""Verify a dataset: read every byte again and report what is missing, doubled, altered or orphaned."""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from data_specs.shard import SampleRow, ShardRef
from data_specs.version import DatasetVersion, Fault, VerifyReport
from tasks.storage.dataset.verify_shard import check_shard, fault, read_or_fault
from tasks.storage.dataset.versions import manifest_bytes, manifest_name, parquet_file, parse_table
from tasks.storage.shards.writer import LOCK, index_file, publishing_alone, tar_file
from tasks.storage.workspace import Workspace

# One version: its manifest, its list of samples, and its shards.


def check_version(
    workspace: Workspace,
    version: DatasetVersion,
    keys_of_shard: Mapping[str, Set[str]],
    gone: Collection[str],
) -> list[Fault]:
    """The version's faults. Its file is read and parsed once.

    Args:
        workspace: The workspace of the version.
        version: The ledger's record of it.
        keys_of_shard: The keys that each shard of the ledger holds.
        gone: Shards whose tar does not exist.
    """
    faults: list[Fault] = []
    store, manifest = workspace.store, manifest_name(version.number)
    data = read_or_fault(workspace, manifest, "the ledger lists it")
    if isinstance(data, Fault):
        faults.append(data)
    elif data != manifest_bytes(version):
        faults.append(fault("altered", manifest, "it differs from the ledger"))
    parquet = store.name(*parquet_file(version))
    data = read_or_fault(workspace, parquet, f"it is part of version {version.number}")
    if isinstance(data, Fault):
        return [*faults, data]
    if hashlib.sha256(data).hexdigest() != version.sha256:
        detail = f"its sha256 differs from that of version {version.number}"
        return [*faults, fault("altered", parquet, detail)]
    return [*faults, *_check_samples(version, parse_table(data), keys_of_shard, gone)]


def _check_samples(
    version: DatasetVersion, samples: pa.Table, keys_of_shard: Mapping[str, Set[str]], gone: Collection[str]
) -> list[Fault]:
    here = f"version {version.number}"
    counts = samples.group_by("key").aggregate([("key", "count")])
    twice = counts.filter(pc.field("key_count") > 1).sort_by("key")
    faults = [
        fault("doubled", row["key"], f"{here} lists it {row['key_count']} times") for row in twice.to_pylist()
    ]
    listed = samples.group_by("shard").aggregate([("key", "list")])
    for row in listed.sort_by("shard").to_pylist():
        shard, keys = row["shard"], row["key_list"]
        if shard not in keys_of_shard:
            faults.append(
                fault("missing", shard, f"{here} needs this shard, and the ledger does not list it")
            )
            continue
        if shard in gone:
            faults.append(fault("missing", shard, f"{here} needs this shard, and its tar is missing"))
        lost = sorted(set(keys) - keys_of_shard[shard])
        faults.extend(fault("missing", key, f"{here} lists it, and shard {shard} lacks it") for key in lost)
    return faults


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
    keys_of_shard = {ref.name: {row.key for row in rows} for ref, rows in inventory.shards}
    kept = set(inventory.names)
    gone = {ref.name for ref, _ in inventory.shards if workspace.store.name(*tar_file(ref)) not in kept}
    for version in inventory.versions:
        faults.extend(check_version(workspace, version, keys_of_shard, gone))
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
    held = ledger.shards.samples_in([ref.name for ref in shards])
    return _Inventory([(ref, held[ref.name]) for ref in shards], versions, names)


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
