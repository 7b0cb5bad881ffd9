"""A shard's index: where in the tar each member lies, as Parquet with the same bytes every time."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_specs.errors import ShardError
from data_specs.shard import ShardRef
from tasks.storage.object_store.plain_file import read_plain

SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("member", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("length", pa.int64(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("scene", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class IndexRow:
    """One member: its bytes are ``tar[offset : offset + length]``."""

    key: str
    member: str
    offset: int
    length: int
    sha256: str
    scene: str
    split: str


def index_bytes(rows: Sequence[IndexRow]) -> bytes:
    """The rows as a Parquet file; the same rows give the same bytes."""
    columns = [[getattr(row, name) for row in rows] for name in SCHEMA.names]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, schema=SCHEMA), sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def read_index(path: Path, ref: ShardRef) -> pa.Table:
    """A shard's index, checked against what the ledger says of it.

    Raises:
        ShardError: When it is missing, altered, or not an index.
    """
    try:
        data = read_plain(path)
    except OSError as error:
        raise ShardError(f"the index of shard {ref.name} cannot be read ({error.strerror})") from error
    if hashlib.sha256(data).hexdigest() != ref.index_sha256:
        raise ShardError(f"the index of shard {ref.name} is altered; run `cleanplate dataset verify`")
    return pq.read_table(pa.BufferReader(data))
