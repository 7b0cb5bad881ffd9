"""The files a source would read, as one digest: changed files are new work, the same files are the same."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from data_specs.errors import InputError
from data_specs.keys import derive_key
from tasks.sources.backgrounds import BackgroundSource, ClipBackground, FolderBackgrounds
from tasks.sources.folder import FolderConfig
from tasks.sources.high_resolution import OBJECT_PARTS, OBJECTS, PICTURES, HighResolutionConfig
from tasks.sources.meta_json import MetaJsonConfig
from tasks.sources.pairs import PAIR_PARTS, ClipPairs, FolderPairs, PairSource
from tasks.sources.pool import PoolConfig

FileSourceConfig = FolderConfig | MetaJsonConfig | PoolConfig | HighResolutionConfig


def files_digest(config: FileSourceConfig) -> str:
    """A key of the names, sizes and sha256 of the files that ``config`` names, wherever their folder lies.

    Raises:
        InputError: When the folder or file is not there.
    """
    if not config.path.exists():
        raise InputError(config.path, "it does not exist")
    root = config.path.parent if isinstance(config, MetaJsonConfig) else config.path
    facts = [fact for path in sorted(_files(config, root)) for fact in _facts(path, root)]
    return derive_key("files", root.name, *facts)


def pictures_digest(source: PairSource | BackgroundSource) -> str:
    """A key of the files that a source of pairs or backgrounds would read; empty where it reads none.

    Raises:
        InputError: When the folder or file is not there.
    """
    if isinstance(source, ClipPairs | ClipBackground):
        path = source.clip.path
        if not path.is_file():
            raise InputError(path, "it does not exist")
        return derive_key("files", *_facts(path, path.parent))
    if not isinstance(source, FolderPairs | FolderBackgrounds):
        return ""
    parts = PAIR_PARTS if isinstance(source, FolderPairs) else (".",)
    paths = sorted(path for part in parts for path in (source.path / part).glob("*") if path.is_file())
    return derive_key(
        "files", source.path.name, *(fact for path in paths for fact in _facts(path, source.path))
    )


def _files(config: FileSourceConfig, root: Path) -> Iterable[Path]:
    if isinstance(config, MetaJsonConfig):
        return {config.path, *_named_in(config.path, root)}
    if isinstance(config, PoolConfig):
        tables = {root / config.segmentation_csv, root / config.classes_csv}
        return tables.union(*((root / part).rglob("*") for part in ("images", "masks")))
    if isinstance(config, HighResolutionConfig):
        parts = (PICTURES, *(f"{OBJECTS}/{part}" for part in OBJECT_PARTS))
    else:
        parts = ("source", "mask", "ground_truth")
    return {path for part in parts for path in (root / part).glob("*")}


def _named_in(meta_json: Path, root: Path) -> set[Path]:
    """What the records name inside the folder; the source itself refuses what is wrong with them."""
    try:
        records = json.loads(meta_json.read_bytes())
    except (OSError, ValueError, RecursionError):
        return set()
    if not isinstance(records, list):
        return set()
    names = [
        record.get(part)
        for record in records
        if isinstance(record, dict)
        for part in ("source", "mask", "GT")
    ]
    inside = {root / name for name in names if isinstance(name, str) and "\0" not in name}
    return {path for path in inside if path.resolve().is_relative_to(root.resolve())}


def _facts(path: Path, root: Path) -> tuple[str, int, str] | tuple[()]:
    """Name, size in bytes and sha256; nothing where there is no such file."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return str(path.relative_to(root)), path.stat().st_size, digest
    except OSError:
        return ()
