"""Keep the digests of files beside the shards: a restart does not read the same bytes again."""

import hashlib
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

from tasks.sources.image_files import opened_file

_SETTLED_NS = 100_000_000
"""A file that changed less than 0.1 s ago may change again without a new time. Its digest is not kept."""
_BETWEEN_COMMITS = 1_000
_TABLE = """CREATE TABLE IF NOT EXISTS digests (
    path BLOB PRIMARY KEY, size INTEGER, modified INTEGER, changed INTEGER, sha256 BLOB) WITHOUT ROWID"""
_BUSY_SECONDS = 60


class KeptDigests:
    """The SHA-256 of files, by path, size and times. A file with another size or time is read again."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._new = 0

    def sha256(self, path: Path) -> tuple[int, str]:
        """The size in bytes and the SHA-256, in hexadecimal digits.

        Raises:
            RejectedImage: If it is no regular file, or may not be read.
            OSError: If reading fails.
        """
        with opened_file(path) as file:
            facts = os.fstat(file.fileno())
            times = (facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
            name = os.fsencode(path)
            query = "SELECT sha256 FROM digests WHERE path = ? AND size = ? AND modified = ? AND changed = ?"
            row = self._connection.execute(query, (name, *times)).fetchone()
            if row is not None:
                return facts.st_size, row[0].hex()
            digest = hashlib.file_digest(cast(Any, file), "sha256")
            if time.time_ns() - facts.st_ctime_ns > _SETTLED_NS and _same_times(file.fileno(), times):
                values = (name, *times, digest.digest())
                self._connection.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?)", values)
                self._new += 1
                if self._new % _BETWEEN_COMMITS == 0:
                    self._connection.commit()
            return facts.st_size, digest.hexdigest()


def _same_times(descriptor: int, times: tuple[int, int, int]) -> bool:
    facts = os.fstat(descriptor)
    return (facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns) == times


@contextmanager
def kept_digests(folder: Path | None) -> Iterator[KeptDigests]:
    """The digests that are kept in a folder. None: nothing is kept longer than this block."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    place = ":memory:" if folder is None else str(folder / "digests.sqlite")
    with closing(sqlite3.connect(place, timeout=_BUSY_SECONDS)) as connection:
        connection.execute(_TABLE)
        try:
            yield KeptDigests(connection)
        finally:
            connection.commit()
