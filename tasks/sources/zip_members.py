"""Read images out of zip archives that stay as they are: nothing is written to disk.

An archive's list of members is read once in a process.
"""

import zipfile
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from data_specs.reject import RejectReason
from tasks.sources.image_files import HeldFile, RejectedImage

_MAX_MEMBER_BYTES = 64 * 2**20
"""Larger than any mask. A member that grows beyond this when it is unpacked is refused."""


def zip_member(archives: Sequence[Path], name: str) -> HeldFile | None:
    """The first member with this file name, in whatever folder of the archives. None if there is none.

    Args:
        archives: In the order in which they are asked.
        name: The member's name without its folders.

    Raises:
        RejectedImage: TRUNCATED if there is none, but an archive could not be read. DAMAGED if the member
            cannot be unpacked. TOO_MANY_PIXELS if it is too large.
    """
    broken: list[str] = []
    for path in archives:
        opened = _opened(path)
        if opened is None:
            broken.append(path.name)
        elif name in opened[1]:
            return HeldFile(name, _content(path, *opened, name))
    if broken:
        detail = f"{', '.join(broken)} cannot be read as a zip, it may be cut; download it again"
        raise RejectedImage(name, RejectReason.TRUNCATED, detail)
    return None


def _opened(path: Path) -> tuple[zipfile.ZipFile, dict[str, str]] | None:
    try:
        facts = path.stat()
        return _opened_at(path, facts.st_mtime_ns, facts.st_size)
    except OSError:
        return None


@lru_cache(maxsize=64)
def _opened_at(path: Path, changed_ns: int, size: int) -> tuple[zipfile.ZipFile, dict[str, str]] | None:
    """The open archive, and its members by file name. None if it is no whole zip.

    The other arguments make a changed archive another one.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None
    return archive, {member.rpartition("/")[2]: member for member in archive.namelist()}


def _content(path: Path, archive: zipfile.ZipFile, members: dict[str, str], name: str) -> bytes:
    try:
        with archive.open(members[name]) as member:
            content = member.read(_MAX_MEMBER_BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise RejectedImage(name, RejectReason.DAMAGED, f"{path.name} does not unpack it") from error
    if len(content) > _MAX_MEMBER_BYTES:
        raise RejectedImage(name, RejectReason.TOO_MANY_PIXELS, f"over {_MAX_MEMBER_BYTES} bytes")
    return content
