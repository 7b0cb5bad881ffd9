"""All that lies in a source, counted without opening it: nothing there is left out without a word.

One is found for each record (a triplet, a pair, a picture, a row), and one for each file that is no part of a
record. So what is found is what is kept, refused and ignored together.
"""

import os
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from data_specs.reject import IgnoredReason, printable
from tasks.sources.backgrounds import FolderBackgrounds, pictures_in
from tasks.sources.folder import PICTURE_SUFFIXES, TRIPLET_PARTS, FolderConfig, StemFiles, files_of_stems
from tasks.sources.meta_json import META_PARTS, MetaJsonConfig, load_records, names_in
from tasks.sources.openimages_pool import POOL_PARTS, Instance, PoolConfig, classes_path, read_instances
from tasks.sources.pairs import PAIR_PARTS, FolderPairs
from tasks.sources.pasted_pairs import OBJECT_PARTS, OBJECTS, PICTURES, HighResolutionConfig

FilesConfig = (
    FolderConfig | MetaJsonConfig | PoolConfig | HighResolutionConfig | FolderPairs | FolderBackgrounds
)


@dataclass(frozen=True, slots=True)
class Found:
    """What lies in a source."""

    records: int
    """Each of them is kept or refused."""
    ignored: Counter[str] = field(default_factory=Counter)
    """Files that are no part of a record, by reason."""
    first: dict[str, str] = field(default_factory=dict)
    """By reason, the first such file by name."""


def find_all(config: FilesConfig) -> Found:
    """Count a source's records and the other files below its folder.

    Raises:
        InputError: When the source as a whole cannot be read.
    """
    if isinstance(config, MetaJsonConfig):
        return _of_meta_json(config)
    if isinstance(config, PoolConfig):
        return _of_pool(config)
    if isinstance(config, HighResolutionConfig):
        return _of_high_resolution(config)
    if isinstance(config, FolderBackgrounds):
        return _found(len(pictures_in(config.path)), config.path, (), _in_parts(("",)))
    parts = TRIPLET_PARTS if isinstance(config, FolderConfig) else PAIR_PARTS
    records = sum(1 for _ in files_of_stems(config.path, parts))
    return _found(records, config.path, parts, _in_parts(parts))


_Judge = Callable[[str], IgnoredReason | None]
"""Given a file's path below the source: why it is no part of a record; None for one that is."""


def _in_parts(parts: Collection[str]) -> _Judge:
    def judge(name: str) -> IgnoredReason | None:
        if os.path.dirname(name) not in parts:
            return IgnoredReason.ELSEWHERE
        return None if Path(name).suffix.lower() in PICTURE_SUFFIXES else IgnoredReason.OTHER_FORMAT

    return judge


def _unless_named(root: Path, names: Iterable[str]) -> _Judge:
    named = {os.path.relpath(os.path.join(root, name), root) for name in names if "\0" not in name}
    return lambda name: None if name in named else IgnoredReason.UNNAMED


def _of_meta_json(config: MetaJsonConfig) -> Found:
    records, root = load_records(config.path), config.path.parent
    return _found(len(records), root, META_PARTS, _unless_named(root, [config.path.name, *names_in(records)]))


def _of_pool(config: PoolConfig) -> Found:
    read = read_instances(config)
    names = [config.segmentation_csv, str(classes_path(config).relative_to(config.path))]
    for row in read.rows:
        if isinstance(row, Instance):
            names += [f"images/{row.image_file}", f"masks/{row.mask_file}"]
    found = _found(len(read.rows), config.path, POOL_PARTS, _unless_named(config.path, names))
    if read.empty_lines:
        found.ignored[IgnoredReason.EMPTY_LINE.value] = read.empty_lines
        found.first[IgnoredReason.EMPTY_LINE.value] = config.segmentation_csv
    return found


def _of_high_resolution(config: HighResolutionConfig) -> Found:
    objects = files_of_stems(config.path / OBJECTS, OBJECT_PARTS)
    whole = {
        f"{OBJECTS}/{name}" for each in objects if isinstance(each, StemFiles) for name in each.names.values()
    }
    object_parts = [f"{OBJECTS}/{part}" for part in OBJECT_PARTS]
    in_parts = _in_parts((PICTURES, *object_parts))

    def judge(name: str) -> IgnoredReason | None:
        if in_parts(name) or os.path.dirname(name) == PICTURES:
            return in_parts(name)
        return IgnoredReason.OBJECT if name in whole else IgnoredReason.LONELY_OBJECT

    return _found(
        len(pictures_in(config.path / PICTURES)),
        config.path,
        (PICTURES, OBJECTS, *object_parts),
        judge,
    )


def _found(records: int, root: Path, parts: Collection[str], judge: _Judge) -> Found:
    """``parts``: The folders that may be links to elsewhere."""
    found = Found(records)
    for name in sorted(_names_below(root, parts)):
        reason = _fault(root / name) or judge(name)
        if reason is not None:
            found.ignored[reason.value] += 1
            found.first.setdefault(reason.value, printable(name))
    return found


def _names_below(root: Path, parts: Collection[str]) -> Iterator[str]:
    """Every file below ``root`` and every link to a folder, which is not followed unless it is a part."""
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
    """Why this is no file at all; one that bears a picture's name is a record's all the same."""
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return IgnoredReason.LINKED_FOLDER if path.is_dir() else None
    if stat.S_ISREG(mode) or path.suffix.lower() in PICTURE_SUFFIXES:
        return None
    return IgnoredReason.NO_FILE
