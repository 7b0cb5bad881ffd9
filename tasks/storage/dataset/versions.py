"""Make, read, compare and roll back dataset versions. Nothing is ever rewritten."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime
from fnmatch import fnmatch
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from data_specs.errors import LedgerError
from data_specs.keys import derive_key
from data_specs.shard import ShardRef
from data_specs.version import DatasetVersion, Selection, VersionDiff, VersionSample
from tasks.storage.atomic_files import publish, written_aside
from tasks.storage.ledger import Ledger
from tasks.storage.ledger.shards import place_of
from tasks.storage.shards.writer import publishing_alone
from tasks.storage.workspace import Workspace

# A version's two files: the numbered manifest, and the Parquet file of its samples.

_SCHEMA = pa.schema(
    [
        pa.field(field.name, pa.int32() if field.name == "round" else pa.string(), nullable=False)
        for field in fields(VersionSample)
    ]
)

_REPEATED = ["scene", "split", "stage", "shard"]
"""Columns whose texts come several times."""


def manifest_name(number: int) -> str:
    """The path of a version's manifest in the workspace."""
    return f"versions/{number:06d}.json"


def parquet_file(version: DatasetVersion) -> tuple[str, str]:
    """The path of a version's samples in the workspace, and their SHA-256."""
    return f"versions/{version.parquet}", version.sha256


def manifest_bytes(version: DatasetVersion) -> bytes:
    """The bytes of the manifest file."""
    return version.model_dump_json(indent=2).encode() + b"\n"


def manifests(workspace: Workspace) -> list[DatasetVersion]:
    """All manifests, by number.

    Raises:
        LedgerError: If one cannot be parsed.
        StoreError: If the store does not answer.
    """
    store = workspace.store
    versions: list[DatasetVersion] = []
    for name in store.names("versions"):
        if not fnmatch(name, "versions/[0-9]*.json"):
            continue
        try:
            versions.append(DatasetVersion.model_validate_json(store.read(name) or b""))
        except (ValueError, IsADirectoryError) as error:
            raise LedgerError(f"the manifest {name} is altered; run `cleanplate dataset verify`") from error
    return versions


def samples_bytes(samples: Sequence[VersionSample]) -> bytes:
    """The samples as a Parquet file. The same samples give the same bytes."""
    columns = [[getattr(sample, name) for sample in samples] for name in _SCHEMA.names]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, schema=_SCHEMA), sink, compression="zstd")
    return cast("bytes", sink.getvalue().to_pybytes())


def parse_samples(data: bytes) -> list[VersionSample]:
    """The reverse of `samples_bytes`."""
    columns = parse_table(data).to_pydict()
    return [VersionSample(*row) for row in zip(*columns.values(), strict=True)]


def parse_table(data: bytes) -> pa.Table:
    """The columns of `samples_bytes`, named after the fields of `VersionSample`."""
    return pq.read_table(pa.BufferReader(data)).select(_SCHEMA.names)


def read_samples(workspace: Workspace, version: DatasetVersion) -> list[VersionSample]:
    """A version's samples, checked against its manifest.

    Raises:
        LedgerError: If the file is missing or altered.
        StoreError: If the store does not answer.
    """
    return parse_samples(_read(workspace, version))


def sample_columns(workspace: Workspace, number: int, columns: Sequence[str]) -> pa.Table:
    """Some columns of a version's samples: no object for each sample.

    Args:
        workspace: The workspace of the version.
        number: Its number.
        columns: Fields of `VersionSample`. Texts that come several times are read as numbers.

    Raises:
        LedgerError: If the version is unknown, or its file is missing or altered.
    """
    data = _read(workspace, workspace.ledger().versions.numbered(number))
    file = pq.ParquetFile(pa.BufferReader(data), read_dictionary=_REPEATED)
    return file.read(list(columns), use_threads=False)


def _read(workspace: Workspace, version: DatasetVersion) -> bytes:
    """The bytes of a version's file, checked against its manifest.

    Raises:
        LedgerError: If the file is missing or altered.
        StoreError: If the store does not answer.
    """
    store = workspace.store
    try:
        data = store.read(store.name(*parquet_file(version)))
    except IsADirectoryError:
        data = b""
    if data is None:
        raise LedgerError(
            f"the file {version.parquet} of dataset version {version.number} is missing; restore it "
            "from a backup"
        )
    if hashlib.sha256(data).hexdigest() != version.sha256:
        raise LedgerError(
            f"the file {version.parquet} of dataset version {version.number} is altered; restore it "
            "from a backup"
        )
    return data


def create_version(
    workspace: Workspace,
    selection: Sequence[tuple[ShardRef, Sequence[str] | None]],
    parent: int | None,
    note: str,
) -> DatasetVersion:
    """Make a version and make it the current one.

    Args:
        workspace: The workspace to write to.
        selection: Everything in the version, including the parent's part (see `selection_of`): shards with
            the chosen keys, None = all. Their order does not matter.
        parent: The version it grew from. None for the first.
        note: What changed, in one sentence.

    Returns:
        The new version, or an existing one with this parent and these samples.

    Raises:
        LedgerError: If a parent, shard or key is unknown, or a key is chosen twice.
        StoreError: If the store does not accept it.
    """
    ledger = workspace.ledger()
    parents = () if parent is None else (ledger.versions.numbered(parent).number,)
    samples = _chosen(ledger, selection)
    data = samples_bytes(samples)
    sha256 = hashlib.sha256(data).hexdigest()
    parquet = f"samples-{sha256[:20]}.parquet"
    with publishing_alone(workspace):
        path = workspace.versions_dir / parquet
        with written_aside(path, data) as aside:
            workspace.store.keep(aside, f"versions/{parquet}", sha256)
            publish(aside, path)
        version = _publish_manifest(workspace, samples, parents, parquet, sha256, note)
        ledger.versions.record(version)
    ledger.versions.set_current(version.number, f"created: {version.note}")
    return version


def selection_of(workspace: Workspace, number: int) -> list[Selection]:
    """The selection that `create_version` got for a version, so that the next version can add to it."""
    keys_of_shard: dict[str, list[str]] = {}
    for sample in load_samples(workspace, number):
        keys_of_shard.setdefault(sample.shard, []).append(sample.key)
    shards = workspace.ledger().shards.all_named(keys_of_shard)
    return [Selection(shards[name], keys) for name, keys in keys_of_shard.items()]


def load_samples(workspace: Workspace, number: int) -> list[VersionSample]:
    """A version's samples, in the shards' order and by position in the shard.

    Raises:
        LedgerError: If the version is unknown, or its file is missing or altered.
    """
    return read_samples(workspace, workspace.ledger().versions.numbered(number))


def diff_versions(workspace: Workspace, before: int, after: int) -> VersionDiff:
    """The samples that one version has and the other has not.

    Raises:
        LedgerError: If a version is unknown, or its file is missing or altered.
    """
    old = [sample.key for sample in load_samples(workspace, before)]
    new = [sample.key for sample in load_samples(workspace, after)]
    in_old, in_new = set(old), set(new)
    return VersionDiff(
        before=before,
        after=after,
        added=[key for key in new if key not in in_old],
        removed=[key for key in old if key not in in_new],
        kept=len(in_old & in_new),
    )


def rollback(workspace: Workspace, number: int, reason: str) -> DatasetVersion:
    """Make an older version the current one. Nothing is rewritten, and the newer ones stay.

    Raises:
        LedgerError: If the version is unknown, or its file is missing or altered.
    """
    ledger = workspace.ledger()
    version = ledger.versions.numbered(number)
    read_samples(workspace, version)
    current = ledger.versions.current()
    if current is None or current.number != number:
        event = derive_key("rollback", number, reason, ledger.versions.latest_event())
        ledger.versions.set_current(number, reason, event=event)
    return version


def _chosen(
    ledger: Ledger, selection: Sequence[tuple[ShardRef, Sequence[str] | None]]
) -> list[VersionSample]:
    """The samples, in the shards' order and by position in the shard."""
    chosen: dict[str, VersionSample] = {}
    shards = ledger.shards.all_named(shard.name for shard, _ in selection)
    held = ledger.shards.samples_in(list(shards))
    for shard, keys in sorted(selection, key=lambda part: place_of(shards[part[0].name])):
        if shards[shard.name].sha256 != shard.sha256:
            raise LedgerError(f"shard {shard.name} differs from the ledger; run `cleanplate dataset verify`")
        wanted = None if keys is None else set(keys)
        rows = [row for row in held[shard.name] if wanted is None or row.key in wanted]
        if wanted is not None and len(rows) != len(wanted):
            absent = min(wanted - {row.key for row in rows})
            raise LedgerError(f"shard {shard.name} lacks sample {absent}; run `cleanplate dataset verify`")
        for row in rows:
            if row.key in chosen:
                raise LedgerError(
                    f"shards {chosen[row.key].shard} and {shard.name} both hold sample {row.key}; give each "
                    "sample once"
                )
            chosen[row.key] = VersionSample(
                row.key, row.scene, row.split, shard.stage, shard.name, shard.round
            )
    return list(chosen.values())


def _publish_manifest(
    workspace: Workspace,
    samples: Sequence[VersionSample],
    parents: tuple[int, ...],
    parquet: str,
    sha256: str,
    note: str,
) -> DatasetVersion:
    """Take the next free number, unless a manifest with these parents and samples exists."""
    while True:
        present = manifests(workspace)
        for version in present:
            if (version.parents, version.sha256) == (parents, sha256):
                return version
        version = DatasetVersion(
            number=1 + max((version.number for version in present), default=0),
            parents=parents,
            samples=len(samples),
            shards=len({sample.shard for sample in samples}),
            by_split=dict(sorted(Counter(sample.split for sample in samples).items())),
            by_stage=dict(sorted(Counter(sample.stage for sample in samples).items())),
            parquet=parquet,
            sha256=sha256,
            note=note,
            created_at=datetime.now(UTC),
        )
        if workspace.store.create(manifest_name(version.number), manifest_bytes(version)):
            return version
