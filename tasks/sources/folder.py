"""Folder source: ``source/``, ``mask/`` and ``ground_truth/`` with files of the same stem."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from pydantic import Field

from data_specs.errors import InputError
from data_specs.reject import Reject, RejectReason
from data_specs.triplet import Triplet
from tasks.sources.triplet_files import SampleLimits, TripletFiles, read_triplets

_PARTS = ("source", "mask", "ground_truth")
_SUFFIXES = {".jpg", ".jpeg", ".png"}


class FolderConfig(SampleLimits):
    """How a folder of triplets is read."""

    path: Path = Field(description="The folder that holds source/, mask/ and ground_truth/.")


def folder_triplets(config: FolderConfig, start: int = 0) -> Iterator[Triplet | Reject]:
    """Triplets by stem, in the order of stems; one triplet or reject a stem.

    Args:
        config: What to read.
        start: Stems to pass over, unopened.

    Raises:
        InputError: When the folder or one of its three parts is missing.
    """
    for part in _PARTS:
        if not (config.path / part).is_dir():
            raise InputError(config.path, f"it holds no folder {part}/")
    records = islice(_records(config.path), start, None)
    return read_triplets(records, root=config.path, kind="folder", limits=config)


def _records(root: Path) -> Iterator[TripletFiles | Reject]:
    """One record a stem found in any part; rejects for stems that are incomplete or ambiguous."""
    found = {part: _files_by_stem(root / part) for part in _PARTS}
    for stem in sorted(set().union(*found.values())):
        files = {part: found[part].get(stem, []) for part in _PARTS}
        missing = [part for part in _PARTS if not files[part]]
        doubled = [part for part in _PARTS if len(files[part]) > 1]
        if missing:
            detail = f"not in {', '.join(missing)}/"
            yield Reject(source="folder", name=stem, reason=RejectReason.MISSING_FILE, detail=detail)
        elif doubled:
            detail = f"more than one file of this stem in {', '.join(doubled)}/"
            yield Reject(source="folder", name=stem, reason=RejectReason.BAD_RECORD, detail=detail)
        else:
            names = {part: f"{part}/{files[part][0]}" for part in _PARTS}
            yield TripletFiles(name=stem, scene=None, **names)


def _files_by_stem(folder: Path) -> dict[str, list[str]]:
    stems: dict[str, list[str]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in _SUFFIXES:
            stems.setdefault(path.stem, []).append(path.name)
    return stems
