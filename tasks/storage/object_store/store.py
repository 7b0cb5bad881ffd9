"""Use any store through one protocol; implement it to add a store.

A file is known by its path in the workspace, with slashes: ``shards/000-pool-00000-….tar``. A stored file
never changes, so a taken name is either the same work or different work.
"""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from tasks.storage.atomic_files import SUFFIX, is_abandoned, publish_if_absent, written_aside


class Held(Protocol):
    """Files that stay in the workspace's folder until they are released."""

    def close(self) -> None:
        """Release them. It may be called twice, and in a forked child, where it does nothing."""
        ...


class Store(Protocol):
    """Keeps files permanently. Repeating any method is harmless.

    Raises, every method:
        StoreError: If the store does not answer in time, or refuses.
    """

    def name(self, path: str, sha256: str) -> str:
        """The store's name for a file with these bytes. `names` and `read` use this name."""
        ...

    def keep(self, aside: Path, path: str, sha256: str) -> None:
        """Keep the bytes of a durable temporary file. The caller still renames the file in the folder."""
        ...

    def size_of(self, path: str, sha256: str) -> int | None:
        """The file's size in bytes. None if it is not kept."""
        ...

    def hold(self, files: Sequence[tuple[str, str]]) -> Held:
        """Bring files into the workspace's folder, each as (path, SHA-256). Lost files stay absent.

        Raises:
            StoreError: Also if a file's bytes are not those that were kept.
        """
        ...

    def create(self, path: str, data: bytes) -> bool:
        """Keep a small file under exactly this name. False if a different one has it."""
        ...

    def read(self, name: str) -> bytes | None:
        """A file's bytes from the permanent store. None if there is none.

        Raises:
            IsADirectoryError: If a folder, a pipe or the like has the name.
        """
        ...

    def blocks(self, name: str) -> Iterator[bytes] | None:
        """A file's bytes from the permanent store, a few megabytes at a time. None if there is none.

        Every block but the last is a multiple of 512 bytes, as a tar's blocks are.

        Raises:
            IsADirectoryError: If a folder, a pipe or the like has the name.
        """
        ...

    def part(self, path: str, sha256: str, start: int, end: int) -> bytes:
        """The bytes ``start`` to ``end`` of a kept file, wherever it is. They are not checked.

        Raises:
            FileNotFoundError: If the file is not kept.
        """
        ...

    def names(self, folder: str) -> list[str]:
        """Everything kept in a folder, sorted, without files that a living process is still writing."""
        ...

    def keep_tree(self, aside: Path, path: str) -> bool:
        """Keep a durable folder as one thing. False if a different one has its path already."""
        ...

    def fetch_tree(self, path: str) -> bool:
        """Bring a folder into the workspace's folder while this process lives. False if none is kept."""
        ...

    def share(self, path: str) -> None:
        """Keep what is in the folder under this path now, and replace the older one: a report, not data.

        If there is nothing under the path, nothing is kept any more.
        """
        ...

    def bring(self, path: str) -> bool:
        """Bring what was shared last into the folder. False if nothing was."""
        ...


# Open a path that must be a file: a pipe would block, and a device never ends.


def open_plain(path: Path) -> int:
    """A file descriptor to read from.

    Raises:
        IsADirectoryError: If a folder, a pipe, a socket or a device has the name.
        OSError: If it cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # Otherwise a pipe without a writer would block.
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise IsADirectoryError(errno.EISDIR, "is not a file", str(path))


def read_plain(path: Path) -> bytes:
    """The bytes of a file. Raises the same as `open_plain`."""
    with open(open_plain(path), "rb") as file:
        return file.read()


_BLOCK_BYTES = 2**20
"""Small enough for a processor's cache: what is read is then hashed from there."""


def _blocks(descriptor: int) -> Iterator[bytes]:
    with open(descriptor, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block


# The store that is the workspace's own folder: a file with its final name is kept.


class FolderStore:
    """A `Store` on the local disk."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def name(self, path: str, sha256: str) -> str:
        return path

    def keep(self, aside: Path, path: str, sha256: str) -> None:
        pass

    def size_of(self, path: str, sha256: str) -> int | None:
        file = self._root / path
        return file.stat().st_size if file.is_file() else None

    def hold(self, files: Sequence[tuple[str, str]]) -> "_Kept":
        return _Kept()

    def create(self, path: str, data: bytes) -> bool:
        with written_aside(self._root / path, data) as aside:
            return publish_if_absent(aside, self._root / path)

    def read(self, name: str) -> bytes | None:
        try:
            return read_plain(self._root / name)
        except FileNotFoundError:
            return None

    def blocks(self, name: str) -> Iterator[bytes] | None:
        try:
            descriptor = open_plain(self._root / name)
        except FileNotFoundError:
            return None
        return _blocks(descriptor)

    def part(self, path: str, sha256: str, start: int, end: int) -> bytes:
        with open(open_plain(self._root / path), "rb") as file:
            return os.pread(file.fileno(), end - start, start)

    def names(self, folder: str) -> list[str]:
        paths = sorted((self._root / folder).iterdir())
        return [f"{folder}/{path.name}" for path in paths if path.suffix != SUFFIX or is_abandoned(path)]

    def keep_tree(self, aside: Path, path: str) -> bool:
        return not (self._root / path).exists()

    def fetch_tree(self, path: str) -> bool:
        return (self._root / path).is_dir()

    def share(self, path: str) -> None:
        pass

    def bring(self, path: str) -> bool:
        return (self._root / path).is_file()


class _Kept:
    """Nothing ever leaves a folder store."""

    def close(self) -> None:
        pass
