"""Folder source: ``source/``, ``mask/`` and ``ground_truth/`` with files of the same stem."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pydantic import Field

from data_specs.errors import InputError
from data_specs.reject import Reject, RejectReason, printable
from data_specs.triplet import Triplet
from tasks.sources.scene_choice import SceneChoice, by_pixels
from tasks.sources.triplet_files import SampleLimits, TripletFiles, read_triplets

TRIPLET_PARTS = ("source", "mask", "ground_truth")
PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png"}


@dataclass(frozen=True, slots=True)
class StemFiles:
    """The files of one stem; nothing has been opened."""

    stem: str
    names: dict[str, str]
    """By part, relative to the folder."""


class FolderConfig(SampleLimits):
    """How a folder of triplets is read."""

    path: Path = Field(description="The folder that holds source/, mask/ and ground_truth/.")


def folder_triplets(
    config: FolderConfig, start: int = 0, scenes: SceneChoice = by_pixels
) -> Iterator[Triplet | Reject]:
    """Triplets by stem, in the order of stems; one triplet or reject a stem.

    Args:
        config: What to read.
        start: Stems to pass over, unopened.
        scenes: Chooses each ground truth's scene.

    Raises:
        InputError: When the folder or one of its three parts is missing.
    """
    records = islice(files_of_stems(config.path, TRIPLET_PARTS), start, None)
    files = (each if isinstance(each, Reject) else _as_triplet(each) for each in records)
    return read_triplets(
        files, root=config.path, kind="folder", limits=config, parts=TRIPLET_PARTS, scenes=scenes
    )


def _as_triplet(files: StemFiles) -> TripletFiles:
    return TripletFiles(name=files.stem, scene=None, **files.names)


def files_of_stems(root: Path, parts: Sequence[str]) -> Iterable[StemFiles | Reject]:
    """One record a stem found in any part; rejects for stems that are incomplete or ambiguous.

    Raises:
        InputError: When one of the parts is missing.
    """
    for part in parts:
        if not (root / part).is_dir():
            raise InputError(root, f"it holds no folder {part}/")
    return _records(root, parts)


def _records(root: Path, parts: Sequence[str]) -> Iterator[StemFiles | Reject]:
    found = {part: _files_by_stem(root / part) for part in parts}
    for stem in sorted(set().union(*found.values())):
        files = {part: found[part].get(stem, []) for part in parts}
        missing = [part for part in parts if not files[part]]
        doubled = [part for part in parts if len(files[part]) > 1]
        if printable(stem) != stem:
            detail = "its name is not UTF-8 or holds control characters; rename it"
            yield Reject(source="folder", name=stem, reason=RejectReason.BAD_RECORD, detail=detail)
        elif missing:
            detail = f"not in {', '.join(missing)}/"
            yield Reject(source="folder", name=stem, reason=RejectReason.MISSING_FILE, detail=detail)
        elif doubled:
            detail = f"more than one file of this stem in {', '.join(doubled)}/"
            yield Reject(source="folder", name=stem, reason=RejectReason.BAD_RECORD, detail=detail)
        else:
            yield StemFiles(stem, {part: f"{part}/{files[part][0]}" for part in parts})


def _files_by_stem(folder: Path) -> dict[str, list[str]]:
    stems: dict[str, list[str]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in PICTURE_SUFFIXES and not path.is_dir():
            stems.setdefault(path.stem, []).append(path.name)
    return stems
