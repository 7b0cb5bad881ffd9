"""How much room a disk has, and the sentence for one that has none."""

import shutil
from pathlib import Path

from data_specs.errors import DiskFullError

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


def disk_full(place: Path, least_bytes: int = _FULL_BYTES) -> DiskFullError:
    """The error that says how much is free, and how much is wanted at least."""
    free, least = (number / 1e6 for number in (free_bytes(place), least_bytes))
    return DiskFullError(
        place, f"the disk is full, {free:.1f} MB are free and {least:.0f} MB are needed at least"
    )
