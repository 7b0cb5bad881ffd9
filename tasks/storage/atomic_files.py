"""Writing aside: a file appears under its name whole and durable, or not at all.

An aside file is named after the process that writes it, so that a sweep removes what the dead left
and never what the living are writing.
"""

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
    """A name beside ``path`` for this process to write under; no two calls give the same."""
    pid = os.getpid()
    return path.with_name(f"{path.name}.{_host()}.{pid}.{_started(pid)}.{secrets.token_hex(4)}{SUFFIX}")


def write_durably(path: Path, data: bytes) -> None:
    """Writes a file aside, then puts it under its name, replacing what was there."""
    with written_aside(path, data) as aside:
        publish(aside, path)


@contextmanager
def written_aside(path: Path, data: bytes) -> Iterator[Path]:
    """The data in a durable aside file, which is gone afterwards unless it was published."""
    aside = aside_path(path)
    try:
        with aside.open("xb") as file:
            file.write(data)
            sync_file(file.fileno())
        yield aside
    finally:
        aside.unlink(missing_ok=True)


def publish(aside: Path, path: Path) -> None:
    """Renames a durable aside file to its name and makes the name durable too."""
    aside.rename(path)
    sync_folder(path.parent)


def publish_if_absent(aside: Path, path: Path) -> bool:
    """Gives an aside file its name only where nobody has it yet.

    Returns:
        False when the name was taken.
    """
    try:
        os.link(aside, path)
    except FileExistsError:
        return False
    sync_folder(path.parent)
    return True


def sync_file(descriptor: int) -> None:
    """Waits until a file's bytes are on the disk."""
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Waits until a folder's names are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep_asides(folder: Path) -> list[str]:
    """Removes what dead processes of this host left aside.

    A shard without a ledger row is left alone: its writer may stand between rename and commit, and
    where it does not, the same work writes the same bytes there again. `verify` reports it.

    Returns:
        The names removed.
    """
    abandoned = [path for path in sorted(folder.glob(f"*{SUFFIX}")) if is_abandoned(path)]
    for path in abandoned:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return [path.name for path in abandoned]


def is_abandoned(aside: Path) -> bool:
    """True when the writer of an aside file is known to be dead.

    Of another host's writers nothing is known, so theirs are never abandoned.
    """
    parts = aside.name.removesuffix(SUFFIX).rsplit(".", 4)
    if len(parts) != 5 or parts[1] != _host() or not parts[2].isdigit():
        return False
    pid, started = int(parts[2]), parts[3]
    return not _lives(pid) or _started(pid) != started


def _host() -> str:
    """This host's name without dots, which part an aside file's name."""
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
    """When a process started, in clock ticks, so that a reused number is told apart; 0 without /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "0"
    return stat.rpartition(")")[2].split()[19]


# How much room a disk has, and the sentence for one that has none.

_FULL_BYTES = 1 << 20
"""With less than this SQLite can keep no transaction, whatever it calls the fault."""


def is_full(place: Path) -> bool:
    """Whether the disk of a file or folder, which need not be there yet, has next to nothing left."""
    return free_bytes(place) < _FULL_BYTES


def free_bytes(place: Path) -> int:
    """What may still be written there."""
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def disk_full(place: Path, min_bytes: int = _FULL_BYTES) -> DiskFullError:
    """The error that says how much is free, and how much is wanted at least."""
    free, minimum = (number / 1e6 for number in (free_bytes(place), min_bytes))
    return DiskFullError(
        place, f"the disk is full, {free:.1f} MB are free and {minimum:.0f} MB are needed at least"
    )
