"""Compute one digest of a source's files: changed files are new work, the same files the same work."""

import os
from collections.abc import Iterable
from pathlib import Path

from data_specs.errors import InputError
from data_specs.keys import derive_key
from tasks.sources.backgrounds import BackgroundSource, ClipBackground, FolderBackgrounds
from tasks.sources.coco import COCO_PARTS
from tasks.sources.image_files import RejectedImage, path_inside
from tasks.sources.kept_digests import KeptDigests, kept_digests
from tasks.sources.ober import OBER_DATA
from tasks.sources.openimages_pool import POOL_PARTS, PoolConfig, classes_path, mask_archives
from tasks.sources.pairs import PAIR_PARTS, ClipPairs, FolderPairs, PairSource
from tasks.sources.paste_objects import list_objects
from tasks.sources.pasted_pairs import (
    OBJECTS,
    HighResolutionConfig,
    linked_folders,
    objects_folder,
    photographs_in,
)
from tasks.sources.published import PublishedConfig, paths_of
from tasks.sources.rord import RORD_PARTS
from tasks.sources.triplet_files import (
    META_PARTS,
    TRIPLET_PARTS,
    FolderConfig,
    MetaJsonConfig,
    load_records,
    names_in,
)

_LINKED = (
    *TRIPLET_PARTS,
    *META_PARTS,
    *POOL_PARTS,
    *RORD_PARTS,
    *COCO_PARTS,
    OBER_DATA,
    *linked_folders(),
    OBJECTS,
)
"""The folders directly in a source that may be links to elsewhere."""

FileSourceConfig = FolderConfig | MetaJsonConfig | PoolConfig | HighResolutionConfig | PublishedConfig


def files_digest(config: FileSourceConfig, kept_in: Path | None = None) -> str:
    """A key of the names, sizes and SHA-256 of the files that ``config`` names, wherever their folder lies.

    Args:
        config: What is read.
        kept_in: A folder that keeps the digests. A file that is unchanged since then is not read again.

    Raises:
        InputError: If the folder or file does not exist.
    """
    if not config.path.exists():
        raise InputError(config.path, "does not exist; name an existing one")
    root = config.path.parent if isinstance(config, MetaJsonConfig) else config.path
    with kept_digests(kept_in) as kept:
        facts = [fact for path in sorted(_files(config, root)) for fact in _facts(path, root, kept)]
    return derive_key("files", root.name, *facts)


def images_digest(source: PairSource | BackgroundSource) -> str:
    """A key of the files that a source of pairs or backgrounds reads. Empty if it reads none.

    Raises:
        InputError: If the folder or file does not exist.
    """
    if isinstance(source, ClipPairs | ClipBackground):
        path = source.clip.path
        if not path.is_file():
            raise InputError(path, "does not exist; name an existing one")
        with kept_digests(None) as kept:
            return derive_key("files", *_facts(path, path.parent, kept))
    if not isinstance(source, FolderPairs | FolderBackgrounds):
        return ""
    parts = PAIR_PARTS if isinstance(source, FolderPairs) else (".",)
    paths = sorted(path for part in parts for path in (source.path / part).glob("*") if path.is_file())
    with kept_digests(None) as kept:
        facts = [fact for path in paths for fact in _facts(path, source.path, kept)]
    return derive_key("files", source.path.name, *facts)


def _files(config: FileSourceConfig, root: Path) -> Iterable[Path]:
    if isinstance(config, MetaJsonConfig):
        return {config.path, *_named_in(config.path, root)}
    if isinstance(config, PoolConfig):
        tables = {root / config.segmentation_csv, classes_path(config), *mask_archives(config)}
        return tables.union(*((root / part).rglob("*") for part in POOL_PARTS))
    if isinstance(config, PublishedConfig):
        return paths_of(config)
    if isinstance(config, HighResolutionConfig):
        objects = objects_folder(config)
        _, names = list_objects(objects, config.max_pixels)
        return {*photographs_in(root), *(objects / name for name in names)}
    return {path for part in TRIPLET_PARTS for path in (root / part).glob("*")}


def _named_in(meta_json: Path, root: Path) -> set[Path]:
    """The paths inside the folder that the records name. The source itself refuses invalid ones."""
    try:
        records = load_records(meta_json)
    except InputError:
        return set()
    return {root / name for name in names_in(records) if _is_inside(root, name)}


def _is_inside(root: Path, name: str) -> bool:
    try:
        return bool(path_inside(root, name, _LINKED))
    except RejectedImage:
        return False


def _facts(path: Path, root: Path, kept: KeptDigests) -> tuple[str, int, str] | tuple[()]:
    """Name, size in bytes and SHA-256. Empty if there is no such file, or if a link leads outside."""
    is_inside = path.is_relative_to(root)
    name = str(path.relative_to(root)) if is_inside else path.name
    may_leave = os.path.islink(path) or ".." in path.parts
    if is_inside and may_leave and not _is_inside(root, name):
        return ()
    try:
        return name, *kept.sha256(path)
    except (RejectedImage, OSError):
        return ()
