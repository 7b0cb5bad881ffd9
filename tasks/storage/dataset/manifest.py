"""A version's two files: the numbered manifest and the Parquet file of its samples."""

import hashlib
from collections.abc import Sequence
from dataclasses import fields
from fnmatch import fnmatch
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from data_specs.errors import LedgerError
from data_specs.version import DatasetVersion, VersionSample
from tasks.storage.workspace import Workspace

_SCHEMA = pa.schema(
    [
        pa.field(field.name, pa.int32() if field.name == "round" else pa.string(), nullable=False)
        for field in fields(VersionSample)
    ]
)


def manifest_name(number: int) -> str:
    """Where a version's manifest lies in the workspace."""
    return f"versions/{number:06d}.json"


def parquet_file(version: DatasetVersion) -> tuple[str, str]:
    """The path of a version's samples in the workspace, and their sha256."""
    return f"versions/{version.parquet}", version.sha256


def manifest_bytes(version: DatasetVersion) -> bytes:
    """The manifest as it is written."""
    return version.model_dump_json(indent=2).encode() + b"\n"


def manifests(workspace: Workspace) -> list[DatasetVersion]:
    """Every manifest there is, by number.

    Raises:
        LedgerError: When one cannot be parsed.
        StoreError: When the store does not answer.
    """
    store = workspace.store
    found: list[DatasetVersion] = []
    for name in store.names("versions"):
        if not fnmatch(name, "versions/[0-9]*.json"):
            continue
        try:
            found.append(DatasetVersion.model_validate_json(store.read(name) or b""))
        except (ValueError, IsADirectoryError) as error:
            raise LedgerError(f"the manifest {name} is altered; run `cleanplate dataset verify`") from error
    return found


def samples_bytes(samples: Sequence[VersionSample]) -> bytes:
    """The samples as a Parquet file; the same samples give the same bytes."""
    columns = [[getattr(sample, name) for sample in samples] for name in _SCHEMA.names]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, schema=_SCHEMA), sink, compression="zstd")
    return cast("bytes", sink.getvalue().to_pybytes())


def parse_samples(data: bytes) -> list[VersionSample]:
    """The reverse of `samples_bytes`."""
    columns = pq.read_table(pa.BufferReader(data)).select(_SCHEMA.names).to_pydict()
    return [VersionSample(*row) for row in zip(*columns.values(), strict=True)]


def read_samples(workspace: Workspace, version: DatasetVersion) -> list[VersionSample]:
    """A version's samples, checked against its manifest.

    Raises:
        LedgerError: When the file is missing or altered.
        StoreError: When the store does not answer.
    """
    store = workspace.store
    try:
        data = store.read(store.name(*parquet_file(version)))
    except IsADirectoryError:
        data = b""
    if data is None:
        raise LedgerError(f"dataset version {version.number} has lost its file {version.parquet}")
    if hashlib.sha256(data).hexdigest() != version.sha256:
        raise LedgerError(f"the samples of dataset version {version.number} are altered ({version.parquet})")
    return parse_samples(data)
