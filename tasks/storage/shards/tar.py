"""Write a tar with the same bytes every time: plain ustar, no times, no owners, sorted members."""

import hashlib
import re
import struct
import tarfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from data_specs.errors import ShardError
from data_specs.shard import EncodedSample, SampleRow, ShardRef
from tasks.storage.object_store.store import read_plain

# A shard's index: the position of each member in the tar, as Parquet with the same bytes every time.

SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("member", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("length", pa.int64(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("scene", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class IndexRow:
    """One member. Its bytes are ``tar[offset : offset + length]``."""

    key: str
    member: str
    offset: int
    length: int
    sha256: str
    scene: str
    split: str
    height: int = 0
    """Of the sample's mask, in pixels. 0 without a mask, and in the indexes of earlier versions."""
    width: int = 0


def index_bytes(rows: Sequence[IndexRow]) -> bytes:
    """The rows as a Parquet file. The same rows give the same bytes."""
    columns = [[getattr(row, name) for row in rows] for name in SCHEMA.names]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, schema=SCHEMA), sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def read_index(path: Path, ref: ShardRef, without: Collection[str] = ()) -> pa.Table:
    """Read a shard's index and check it against the ledger's record.

    Args:
        path: The index.
        ref: The shard.
        without: Columns that the caller does not need.

    Raises:
        ShardError: If it is missing, altered, or not an index.
    """
    try:
        data = read_plain(path)
    except OSError as error:
        raise ShardError(
            f"the index of shard {ref.name} cannot be read ({error.strerror}); check the file and its "
            "permissions"
        ) from error
    if hashlib.sha256(data).hexdigest() != ref.index_sha256:
        raise ShardError(f"the index of shard {ref.name} is altered; run `cleanplate dataset verify`")
    return parse_index(data, without)


def parse_index(data: bytes, without: Collection[str] = ()) -> pa.Table:
    """The columns of `index_bytes`. Those of earlier versions have no height and width.

    Args:
        data: The file.
        without: Columns that the caller does not need.
    """
    file = pq.ParquetFile(pa.BufferReader(data), read_dictionary=_REPEATED)
    wanted = [name for name in file.schema_arrow.names if name not in without]
    return file.read(wanted, use_threads=False)


_REPEATED = ["key", "member", "scene", "split"]
"""Columns whose texts come several times: they are read as numbers."""
_KEY = re.compile(r"[A-Za-z0-9_-]{1,80}")
_MEMBER = re.compile(r"[a-z0-9_]+(\.[a-z0-9]+)?")


class TarWriter:
    """Appends samples to a file and records the position of each member.

    webdataset takes a name up to its first dot as the sample's key, so keys have no dots.

    The candidates of a pool item have the same source and mask. The first one stores them. The others have
    hard links to them, as ``tar`` itself writes them, and index rows with the position of the first one's.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.rows: list[SampleRow] = []
        self.index: list[IndexRow] = []
        self.size_bytes = 0
        self._file = file
        self._digest = hashlib.sha256()
        self._keys: set[str] = set()
        self._item: str | None = None
        self._stored: dict[str, tuple[bytes, IndexRow]] = {}
        """The members of the current item's candidates that may come again."""

    def add(self, sample: EncodedSample) -> None:
        """Append one sample.

        Raises:
            ShardError: If a key comes twice, or webdataset would not return a name unchanged.
        """
        if not _KEY.fullmatch(sample.key):
            raise ShardError(f"'{sample.key}' is not a valid key; use at most 80 letters, digits, - and _")
        if sample.key in self._keys:
            raise ShardError(f"sample {sample.key} appears twice in one shard; give each sample once")
        self._keys.add(sample.key)
        position = len(self.rows)
        self.rows.append(SampleRow(sample.key, sample.scene, sample.split, position, sample.item))
        if sample.item is None or sample.item != self._item:
            self._item, self._stored = sample.item, {}
        size = png_size(sample.members.get("mask.png", b"")) or (0, 0)
        for member in sorted(sample.members):
            self._add_member(sample, member, size)

    def finish(self) -> str:
        """End the tar and return the SHA-256 of all its bytes, in hexadecimal."""
        end = 2 * tarfile.BLOCKSIZE
        self._append(bytes(end + -(self.size_bytes + end) % tarfile.RECORDSIZE))
        return self._digest.hexdigest()

    def _add_member(self, sample: EncodedSample, member: str, size: tuple[int, int]) -> None:
        if not _MEMBER.fullmatch(member):
            raise ShardError(f"'{member}' is not a valid member name of sample {sample.key}")
        data, name = sample.members[member], f"{sample.key}.{member}"
        stored, first = self._stored.get(member, (None, None))
        if first is not None and stored == data:
            self._append(_header(name, 0, f"{first.key}.{member}"))
            self.index.append(replace(first, key=sample.key, scene=sample.scene, split=sample.split))
            return
        self._append(_header(name, len(data)))
        digest = hashlib.sha256(data).hexdigest()
        place = (self.size_bytes, len(data))
        row = IndexRow(sample.key, member, *place, digest, sample.scene, sample.split, *size)
        self.index.append(row)
        if self._item is not None:
            self._stored[member] = data, row
        self._append(data)
        self._append(bytes(-len(data) % tarfile.BLOCKSIZE))

    def _append(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self.size_bytes += len(data)


_PNG = b"\x89PNG\r\n\x1a\n"


def png_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) in pixels from the first chunk of a PNG, or of its first 24 bytes. None for no PNG."""
    if not data.startswith(_PNG) or len(data) < 24:
        return None
    width, height = struct.unpack(">II", data[16:24])
    return height, width


_TEMPLATE = tarfile.TarInfo().tobuf(tarfile.USTAR_FORMAT)
"""An empty member's header: mode 0644, time, owner and group 0."""
_LENGTH, _SUM, _TYPE, _LINK = slice(124, 136), slice(148, 156), slice(156, 157), 157


def _header(name: str, length: int, link: str = "") -> bytes:
    """512 bytes, filled in directly: TarInfo takes longer than the disk takes for the member.

    Args:
        name: The member's name.
        length: Number of its bytes. 0 for a link.
        link: The name of the earlier member whose bytes it has. Empty for bytes of its own.
    """
    header = bytearray(_TEMPLATE)
    header[: len(name)] = name.encode("ascii")
    header[_LENGTH] = b"%011o\0" % length
    if link:
        header[_TYPE] = tarfile.LNKTYPE
        header[_LINK : _LINK + len(link)] = link.encode("ascii")
    header[_SUM] = b" " * 8
    header[_SUM] = b"%06o\0 " % sum(header)
    return bytes(header)
