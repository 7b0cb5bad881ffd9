"""A tar with the same bytes every time: plain ustar, no times, no owners, members sorted in a sample."""

import hashlib
import re
import tarfile
from typing import BinaryIO

from data_specs.errors import ShardError
from data_specs.shard import EncodedSample, SampleRow
from tasks.storage.shards.index import IndexRow

_KEY = re.compile(r"[A-Za-z0-9_-]{1,80}")
_MEMBER = re.compile(r"[a-z0-9_]+(\.[a-z0-9]+)?")


class TarWriter:
    """Appends samples to a file and notes where each member went.

    webdataset takes a name up to its first dot for the sample's key, so keys have no dots.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.rows: list[SampleRow] = []
        self.index: list[IndexRow] = []
        self.size_bytes = 0
        self._file = file
        self._digest = hashlib.sha256()
        self._keys: set[str] = set()

    def add(self, sample: EncodedSample) -> None:
        """Appends one sample.

        Raises:
            ShardError: For a key twice, or a name that webdataset would not give back.
        """
        if not _KEY.fullmatch(sample.key):
            raise ShardError(f"'{sample.key}' cannot be a sample's key: letters, digits, - and _, at most 80")
        if sample.key in self._keys:
            raise ShardError(f"sample {sample.key} is twice in one shard")
        self._keys.add(sample.key)
        position = len(self.rows)
        self.rows.append(SampleRow(sample.key, sample.scene, sample.split, position))
        for member in sorted(sample.members):
            self._add_member(sample, member)

    def finish(self) -> str:
        """Ends the tar; gives the sha256 of all its bytes, in hexadecimal."""
        end = 2 * tarfile.BLOCKSIZE
        self._append(bytes(end + -(self.size_bytes + end) % tarfile.RECORDSIZE))
        return self._digest.hexdigest()

    def _add_member(self, sample: EncodedSample, member: str) -> None:
        if not _MEMBER.fullmatch(member):
            raise ShardError(f"'{member}' cannot be a member of sample {sample.key}")
        data = sample.members[member]
        self._append(_header(f"{sample.key}.{member}", len(data)))
        digest = hashlib.sha256(data).hexdigest()
        self.index.append(
            IndexRow(sample.key, member, self.size_bytes, len(data), digest, sample.scene, sample.split)
        )
        self._append(data)
        self._append(bytes(-len(data) % tarfile.BLOCKSIZE))

    def _append(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self.size_bytes += len(data)


_TEMPLATE = tarfile.TarInfo().tobuf(tarfile.USTAR_FORMAT)
"""An empty member's header: mode 0644, time, owner and group 0."""
_LENGTH, _SUM = slice(124, 136), slice(148, 156)


def _header(name: str, length: int) -> bytes:
    """512 bytes; filled in by hand, since TarInfo takes longer over it than the disk over the member."""
    header = bytearray(_TEMPLATE)
    header[: len(name)] = name.encode("ascii")
    header[_LENGTH] = b"%011o\0" % length
    header[_SUM] = b" " * 8
    header[_SUM] = b"%06o\0 " % sum(header)
    return bytes(header)
