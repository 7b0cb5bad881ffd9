"""Verifying one version: its manifest, its list of samples, and the shards it stands on."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from data_specs.shard import SampleRow
from data_specs.version import DatasetVersion, Fault, FaultKind, VersionSample
from tasks.dataset.manifest import manifest_bytes, manifest_path, parse_samples
from tasks.shards.paths import tar_path
from tasks.workspace import Workspace


def check_version(
    workspace: Workspace, version: DatasetVersion, rows_of_shard: Mapping[str, Sequence[SampleRow]]
) -> list[Fault]:
    """The version's faults.

    Args:
        workspace: Where it lies.
        version: As the ledger has it.
        rows_of_shard: The samples the ledger has for each shard.
    """
    faults: list[Fault] = []
    manifest = manifest_path(workspace, version.number)
    name = f"versions/{manifest.name}"
    if not manifest.exists():
        faults.append(_fault("missing", name, "the ledger names it"))
    elif manifest.read_bytes() != manifest_bytes(version):
        faults.append(_fault("altered", name, "it is not what the ledger says"))
    parquet = workspace.versions_dir / version.parquet
    if not parquet.exists():
        return [*faults, _fault("missing", f"versions/{parquet.name}", f"version {version.number} names it")]
    data = parquet.read_bytes()
    if hashlib.sha256(data).hexdigest() != version.sha256:
        detail = f"its sha256 is not that of version {version.number}"
        return [*faults, _fault("altered", f"versions/{parquet.name}", detail)]
    return [*faults, *_check_samples(workspace, version, parse_samples(data), rows_of_shard)]


def _check_samples(
    workspace: Workspace,
    version: DatasetVersion,
    samples: Sequence[VersionSample],
    rows_of_shard: Mapping[str, Sequence[SampleRow]],
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
        if not tar_path(workspace, shard).exists():
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
