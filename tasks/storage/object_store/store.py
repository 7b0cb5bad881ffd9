"""What the rest of the code asks of a store, and nothing more.

A file is known by its path in the workspace, with slashes: ``shards/000-pool-00000-….tar``. What lies in
a store never changes, so a name that is taken is either the same work or somebody else's.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


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
