"""One publisher at a time in a workspace."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from tasks.storage.workspace import Workspace

LOCK = ".publish.lock"
"""The lock's file name, in the shards' folder."""


@contextmanager
def publishing_alone(workspace: Workspace) -> Iterator[None]:
    """Held while files get their names and the ledger its row; a few milliseconds.

    Without it a slower racer's rename could put other bytes under a committed row, and `verify` could
    take a shard half-way through its commit for an orphan. The kernel lets go when the holder dies.
    """
    with (workspace.shards_dir / LOCK).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
