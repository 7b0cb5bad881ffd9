"""What the rest of the code asks of a store, and nothing more.

A file is known by its path in the workspace, with slashes: ``shards/000-pool-00000-….tar``. What lies in
a store never changes, so a name that is taken is either the same work or somebody else's.
"""

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from tasks.storage.atomic_files import SUFFIX, is_abandoned, publish_if_absent, written_aside


class Held(Protocol):
    """Files that stay in the workspace's folder until they are let go."""

    def close(self) -> None:
        """Lets them go; may be called twice, and in a forked child, where it does nothing."""
        ...


class Store(Protocol):
    """Keeps files for good. Every method may be repeated without harm.

    Raises, every method:
        StoreError: When the store does not answer in time, or refuses.
    """

    def name(self, path: str, sha256: str) -> str:
        """What the store calls a file with these bytes; `names` and `read` speak of such names."""
        ...

    def keep(self, aside: Path, path: str, sha256: str) -> None:
        """Keeps a durable aside file's bytes; the caller still gives the file its name in the folder."""
        ...

    def size_of(self, path: str, sha256: str) -> int | None:
        """The file's size in bytes; None where it is not kept."""
        ...

    def hold(self, files: Sequence[tuple[str, str]]) -> Held:
        """Brings files into the workspace's folder, each (path, sha256); the lost ones stay absent.

        Raises:
            StoreError: Also when a file's bytes are not those it was kept with.
        """
        ...

    def create(self, path: str, data: bytes) -> bool:
        """Keeps a small file of this exact name; False when another one has it."""
        ...

    def read(self, name: str) -> bytes | None:
        """A file's bytes, from where they are kept for good; None where there is none.

        Raises:
            IsADirectoryError: When a folder, a pipe or the like has the name.
        """
        ...

    def names(self, folder: str) -> list[str]:
        """Everything kept in a folder, sorted; what a living process is still writing is left out."""
        ...

    def keep_tree(self, aside: Path, path: str) -> bool:
        """Keeps a durable folder as one thing; False when another one has its path already."""
        ...

    def fetch_tree(self, path: str) -> bool:
        """Brings a folder into the workspace's folder while this process lives; False where none is kept."""
        ...

    def share(self, path: str) -> None:
        """Keeps what lies in the folder under this path now, over what was kept: a report, not data.

        Where nothing lies there, nothing is kept any more.
        """
        ...

    def bring(self, path: str) -> bool:
        """Brings what was shared last into the folder; False where nothing was."""
        ...


# Opening a file that must be one: a pipe in its place would be waited for, and a device never ends.


def open_plain(path: Path) -> int:
    """A descriptor to read from.

    Raises:
        IsADirectoryError: When a folder, a pipe, a socket or a device has the name.
        OSError: When it cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # Else a pipe without a writer is waited for.
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise IsADirectoryError(errno.EISDIR, "it is no file", str(path))


def read_plain(path: Path) -> bytes:
    """The bytes of a file; raises as `open_plain` does."""
    with open(open_plain(path), "rb") as file:
        return file.read()


# The store that is the workspace's own folder: what has its name there is kept.


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
