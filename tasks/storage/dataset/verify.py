"""Re-reads every byte of the dataset and says what is missing, doubled, altered or orphaned."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from data_specs.shard import SampleRow, ShardRef
from data_specs.version import DatasetVersion, Fault, VerifyReport
from tasks.storage.dataset.manifest import manifest_name, parquet_file
from tasks.storage.dataset.verify_shard import check_shard
from tasks.storage.dataset.verify_version import check_version
from tasks.storage.shards.lock import LOCK, publishing_alone
from tasks.storage.shards.paths import index_file, tar_file
from tasks.storage.workspace import Workspace

Progress = Callable[[int, int], None]
"""Called with the bytes read and the bytes there are."""


@dataclass(frozen=True)
class _Inventory:
    """What ledger and store held at one moment."""

    shards: Sequence[tuple[ShardRef, Sequence[SampleRow]]]
    versions: Sequence[DatasetVersion]
    names: Sequence[str]
    """Of everything in the store."""


def verify_dataset(workspace: Workspace, progress: Progress | None = None) -> VerifyReport:
    """Compares every byte and every row with what the ledger says.

    Writers may go on meanwhile: what they add after the start is not looked at.

    Args:
        workspace: What to verify.
        progress: Told after each shard.

    Raises:
        LedgerError: When the ledger cannot be read at all.
        StoreError: When the store does not answer.
    """
    inventory = _take_inventory(workspace)
    faults = [*_orphans(workspace, inventory), *_doubles(inventory)]
    total = sum(ref.size_bytes for ref, _ in inventory.shards)
    bytes_read = 0
    for ref, rows in inventory.shards:
        found, size_bytes = check_shard(workspace, ref, rows)
        faults.extend(found)
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
        shards = ledger.shards()
        versions = ledger.versions()
    return _Inventory([(ref, ledger.samples_of(ref.name)) for ref in shards], versions, names)


def _orphans(workspace: Workspace, inventory: _Inventory) -> list[Fault]:
    """Files that no row of the ledger names."""
    named_by = workspace.store.name
    named = {f"shards/{LOCK}"}
    for ref, _ in inventory.shards:
        named |= {named_by(*tar_file(ref)), named_by(*index_file(ref))}
    for version in inventory.versions:
        named |= {manifest_name(version.number), named_by(*parquet_file(version))}
    return [
        Fault(kind="orphaned", what=name, detail="no row of the ledger names it")
        for name in sorted(inventory.names)
        if name not in named
    ]


def _doubles(inventory: _Inventory) -> list[Fault]:
    """Samples that two shards of one stage hold."""
    first: dict[tuple[str, str], str] = {}
    faults: list[Fault] = []
    for ref, rows in inventory.shards:
        for row in rows:
            other = first.setdefault((ref.stage, row.key), ref.name)
            if other != ref.name:
                detail = f"both {other} and {ref.name} hold it"
                faults.append(Fault(kind="doubled", what=row.key, detail=detail))
    return faults
