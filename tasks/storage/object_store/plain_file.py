"""Opening a file that must be one: a pipe in its place would be waited for, and a device never ends."""

import errno
import os
import stat
from pathlib import Path


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
