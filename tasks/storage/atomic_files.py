"""Write files atomically: a file appears under its name complete and durable, or not at all.

The name of a temporary file contains its process. A sweep then removes the files of dead processes, and never
those of living ones.
"""

import hashlib
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_specs.errors import DiskFullError

SUFFIX = ".aside"


def aside_path(path: Path) -> Path:
    """A temporary name beside ``path`` for this process. No two calls return the same name."""
    pid = os.getpid()
    return path.with_name(f"{path.name}.{_host()}.{pid}.{_started(pid)}.{secrets.token_hex(4)}{SUFFIX}")


def write_durably(path: Path, data: bytes) -> None:
    """Write a temporary file, then rename it to its name. An old file is replaced."""
    with written_aside(path, data) as aside:
        publish(aside, path)


@contextmanager
def written_aside(path: Path, data: bytes) -> Iterator[Path]:
    """The data in a durable temporary file. It is removed afterwards unless it was published."""
    aside = aside_path(path)
    try:
        with aside.open("xb") as file:
            file.write(data)
            sync_file(file.fileno())
        yield aside
    finally:
        aside.unlink(missing_ok=True)


def publish(aside: Path, path: Path) -> None:
    """Rename a durable temporary file to its name, and make the name durable too."""
    aside.rename(path)
    sync_folder(path.parent)


def publish_if_absent(aside: Path, path: Path) -> bool:
    """Give a temporary file its name only if the name is free.

    Returns:
        False if the name was taken.
    """
    try:
        os.link(aside, path)
    except FileExistsError:
        return False
    sync_folder(path.parent)
    return True


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """A new folder to fill. At the end it takes the place of an older ``folder``."""
    aside = aside_path(folder)
    aside.mkdir(parents=True)
    try:
        yield aside
        shutil.rmtree(folder, ignore_errors=True)
        publish(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def sync_file(descriptor: int) -> None:
    """Wait until a file's bytes are on the disk."""
    os.fsync(descriptor)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Wait until a folder's names are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep_asides(folder: Path) -> list[str]:
    """Remove the temporary files of this host's dead processes.

    A shard without a ledger row stays: its writer may be between rename and commit. If it is not, the same
    work writes the same bytes there again. `verify` reports such a shard.

    Returns:
        The removed names.
    """
    abandoned = [path for path in sorted(folder.glob(f"*{SUFFIX}")) if is_abandoned(path)]
    for path in abandoned:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return [path.name for path in abandoned]


def is_abandoned(aside: Path) -> bool:
    """True if the writer of a temporary file is known to be dead.

    Nothing is known of other hosts' writers, so their files never count as abandoned.
    """
    parts = aside.name.removesuffix(SUFFIX).rsplit(".", 4)
    if len(parts) != 5 or parts[1] != _host() or not parts[2].isdigit():
        return False
    pid, started = int(parts[2]), parts[3]
    return not _lives(pid) or _started(pid) != started


def _host() -> str:
    """This host's name without dots. Dots separate the parts of a temporary file's name."""
    return socket.gethostname().replace(".", "_")


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _started(pid: int) -> str:
    """The start time of a process in clock ticks. It distinguishes a reused number. 0 without /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "0"
    return stat.rpartition(")")[2].split()[19]


# Free space on a disk, and the error for a full one.

_FULL_BYTES = 1 << 20
"""With less than this, SQLite cannot keep a transaction, whatever it calls the error."""


def is_full(place: Path) -> bool:
    """Whether the disk of a file or folder is almost full. The file or folder need not exist."""
    return free_bytes(place) < _FULL_BYTES


def free_bytes(place: Path) -> int:
    """The number of bytes that can still be written there."""
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def disk_full(place: Path, min_bytes: int = _FULL_BYTES) -> DiskFullError:
    """The error that says how much is free, and how much is needed at least."""
    free, minimum = (number / 1e6 for number in (free_bytes(place), min_bytes))
    return DiskFullError(
        place, f"the disk is full: {free:.1f} MB are free, and at least {minimum:.0f} MB are needed"
    )
