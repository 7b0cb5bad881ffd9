"""Verifying one version: its manifest, its list of samples, and the shards it stands on."""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from data_specs.shard import SampleRow
from data_specs.version import DatasetVersion, Fault, FaultKind, VersionSample
from tasks.storage.dataset.manifest import manifest_bytes, manifest_name, parquet_file, parse_samples
from tasks.storage.dataset.verify_shard import read_or_fault
from tasks.storage.workspace import Workspace


def check_version(
    workspace: Workspace,
    version: DatasetVersion,
    rows_of_shard: Mapping[str, Sequence[SampleRow]],
    gone: Collection[str],
) -> list[Fault]:
    """The version's faults.

    Args:
        workspace: Where it lies.
        version: As the ledger has it.
        rows_of_shard: The samples the ledger has for each shard.
        gone: Shards whose tar is not there.
    """
    faults: list[Fault] = []
    store, manifest = workspace.store, manifest_name(version.number)
    data = read_or_fault(workspace, manifest, "the ledger names it")
    if isinstance(data, Fault):
        faults.append(data)
    elif data != manifest_bytes(version):
        faults.append(_fault("altered", manifest, "it is not what the ledger says"))
    parquet = store.name(*parquet_file(version))
    data = read_or_fault(workspace, parquet, f"version {version.number} names it")
    if isinstance(data, Fault):
        return [*faults, data]
    if hashlib.sha256(data).hexdigest() != version.sha256:
        detail = f"its sha256 is not that of version {version.number}"
        return [*faults, _fault("altered", parquet, detail)]
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
        _fault("doubled", key, f"{here} lists it {count} times") for key, count in times.items() if count > 1
    ]
    keys_of_shard: dict[str, list[str]] = {}
    for sample in samples:
        keys_of_shard.setdefault(sample.shard, []).append(sample.key)
    for shard, keys in keys_of_shard.items():
        if shard not in rows_of_shard:
            faults.append(
                _fault("missing", shard, f"{here} needs this shard, and the ledger has no such row")
            )
            continue
        if shard in gone:
            faults.append(_fault("missing", shard, f"{here} needs this shard, and its tar is gone"))
        held = {row.key for row in rows_of_shard[shard]}
        faults.extend(
            _fault("missing", key, f"{here} lists it, and shard {shard} does not hold it")
            for key in keys
            if key not in held
        )
    return faults


def _fault(kind: FaultKind, what: str, detail: str) -> Fault:
    return Fault(kind=kind, what=what, detail=detail)
