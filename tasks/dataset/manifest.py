"""A version's two files: the numbered manifest and the Parquet file of its samples."""

import hashlib
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from data_specs.errors import LedgerError
from data_specs.version import DatasetVersion, VersionSample
from tasks.workspace import Workspace

_SCHEMA = pa.schema(
    [
        pa.field(field.name, pa.int32() if field.name == "round" else pa.string(), nullable=False)
        for field in fields(VersionSample)
    ]
)


def manifest_path(workspace: Workspace, number: int) -> Path:
    """Where a version's manifest lies."""
    return workspace.versions_dir / f"{number:06d}.json"


def manifest_bytes(version: DatasetVersion) -> bytes:
    """The manifest as it is written."""
    return version.model_dump_json(indent=2).encode() + b"\n"


def manifests(workspace: Workspace) -> list[DatasetVersion]:
    """Every manifest in the folder, by number.

    Raises:
        LedgerError: When one cannot be parsed.
    """
    found: list[DatasetVersion] = []
    for path in sorted(workspace.versions_dir.glob("[0-9]*.json")):
        try:
            found.append(DatasetVersion.model_validate_json(path.read_bytes()))
        except ValueError as error:
            raise LedgerError(
                f"the manifest {path.name} is altered; run `cleanplate dataset verify`"
            ) from error
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
    """
    try:
        data = (workspace.versions_dir / version.parquet).read_bytes()
    except OSError as error:
        raise LedgerError(f"dataset version {version.number} has lost its file {version.parquet}") from error
    if hashlib.sha256(data).hexdigest() != version.sha256:
        raise LedgerError(f"the samples of dataset version {version.number} are altered ({version.parquet})")
    return parse_samples(data)
