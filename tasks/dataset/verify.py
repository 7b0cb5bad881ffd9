"""Re-reads every byte of the dataset and says what is missing, doubled, altered or orphaned."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_specs.shard import SampleRow, ShardRef
from data_specs.version import DatasetVersion, Fault, VerifyReport
from tasks.aside import SUFFIX, is_abandoned
from tasks.dataset.manifest import manifest_path
from tasks.dataset.verify_shard import check_shard
from tasks.dataset.verify_version import check_version
from tasks.shards.lock import LOCK, publishing_alone
from tasks.shards.paths import index_path, tar_path
from tasks.workspace import Workspace

Progress = Callable[[int, int], None]
"""Called with the bytes read and the bytes there are."""


@dataclass(frozen=True)
class _Inventory:
    """What ledger and folders held at one moment."""

    shards: Sequence[tuple[ShardRef, Sequence[SampleRow]]]
    versions: Sequence[DatasetVersion]
    files: Sequence[Path]


def verify_dataset(workspace: Workspace, progress: Progress | None = None) -> VerifyReport:
    """Compares every byte and every row with what the ledger says.

    Writers may go on meanwhile: what they add after the start is not looked at.

    Args:
        workspace: What to verify.
        progress: Told after each shard.

    Raises:
        LedgerError: When the ledger cannot be read at all.
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
    for version in inventory.versions:
        faults.extend(check_version(workspace, version, rows_of_shard))
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
        files = [*workspace.shards_dir.iterdir(), *workspace.versions_dir.iterdir()]
        shards = ledger.shards()
        versions = ledger.versions()
    return _Inventory([(ref, ledger.samples_of(ref.name)) for ref in shards], versions, sorted(files))


def _orphans(workspace: Workspace, inventory: _Inventory) -> list[Fault]:
    """Files that no row of the ledger names; what a living process is writing aside is none."""
    named = {workspace.shards_dir / LOCK}
    for ref, _ in inventory.shards:
        named |= {tar_path(workspace, ref.name), index_path(workspace, ref.name)}
    for version in inventory.versions:
        named |= {manifest_path(workspace, version.number), workspace.versions_dir / version.parquet}
    return [
        Fault(
            kind="orphaned",
            what=str(path.relative_to(workspace.root)),
            detail="no row of the ledger names it",
        )
        for path in inventory.files
        if path not in named and (path.suffix != SUFFIX or is_abandoned(path))
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
