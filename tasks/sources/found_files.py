"""Count the files below a source that are part of no record, by reason. Nothing is opened."""

import os
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from data_specs.reject import IgnoredReason, Reject, printable
from tasks.sources.image_files import IMAGE_SUFFIXES

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class Found:
    """What a source contains."""

    records: int | None
    """Number of records. Each is kept or refused. None if only reading them tells."""
    ignored: Counter[str] = field(default_factory=Counter)
    """Number of files that are no part of a record, by reason."""
    first: dict[str, str] = field(default_factory=dict)
    """The name of the first such file, by reason."""


@dataclass(frozen=True, slots=True)
class Listing(Generic[Record]):
    """What a published data set holds, by the names of its files. No image has been opened."""

    records: list[Record | Reject]
    """In order. Each becomes a sample or a reject."""
    named: set[str]
    """Paths below the data set's folder, of the records' files and of the tables that name them."""
    beside: tuple[Path, ...] = ()
    """Files in other folders that the records need."""


ReasonOf = Callable[[str], IgnoredReason | None]
"""Why a file, given by its path below the source, is no part of a record. None if it is part of one."""


def in_parts(parts: Collection[str]) -> ReasonOf:
    """Every image in a folder of ``parts`` is part of a record."""

    def reason_of(name: str) -> IgnoredReason | None:
        if os.path.dirname(name) not in parts:
            return IgnoredReason.ELSEWHERE
        return None if Path(name).suffix.lower() in IMAGE_SUFFIXES else IgnoredReason.OTHER_FORMAT

    return reason_of


def unless_named(root: Path, names: Iterable[str]) -> ReasonOf:
    """Every file that ``names`` name, as paths below ``root``, is part of a record."""
    named = {os.path.relpath(os.path.join(root, name), root) for name in names if "\0" not in name}
    return lambda name: None if name in named else IgnoredReason.UNNAMED


def found_below(records: int | None, root: Path, parts: Collection[str], reason_of: ReasonOf) -> Found:
    """Count what is found. ``parts`` are the folders that may be links to elsewhere."""
    files = Found(records)
    for name in sorted(names_below(root, parts)):
        reason = _fault(root / name) or reason_of(name)
        if reason is not None:
            files.ignored[reason.value] += 1
            files.first.setdefault(reason.value, printable(name))
    return files


def names_below(root: Path, parts: Collection[str]) -> Iterator[str]:
    """Every file below ``root`` and every link to a folder. A link is followed only if it is a part."""
    linked = [part for part in parts if (root / part).is_symlink()]
    for top in ("", *linked):
        for folder, folders, files in os.walk(root / top):
            below = os.path.relpath(folder, root)
            links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
            for name in (*files, *links):
                path = name if below == "." else f"{below}/{name}"
                if path not in linked:
                    yield path


def _fault(path: Path) -> IgnoredReason | None:
    """Why a path is no file. A broken one with an image's name still counts as a record."""
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return IgnoredReason.LINKED_FOLDER if path.is_dir() else None
    if stat.S_ISREG(mode) or path.suffix.lower() in IMAGE_SUFFIXES:
        return None
    return IgnoredReason.NO_FILE
