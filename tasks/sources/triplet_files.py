"""Read triplets from files: plain folders and ``meta.json`` become triplets or rejects."""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_specs.errors import InputError, first_fault
from data_specs.keys import derive_key
from data_specs.reject import Reject, RejectReason, printable
from data_specs.triplet import Triplet
from tasks.sources.image_files import (
    IMAGE_SUFFIXES,
    RejectedImage,
    check_same_size,
    path_inside,
    read_image,
    read_mask,
)
from tasks.sources.samples import SampleLimits, WholeTriplet, cut_triplet
from tasks.sources.scenes import SceneChoice, by_pixels, sequence_of


@dataclass(frozen=True, slots=True, kw_only=True)
class TripletFiles:
    """The location of one triplet, as a folder or a record names it. Nothing has been opened."""

    name: str
    """For people: the stem, or the record's number."""
    source: str
    """Relative to the root, like the next two."""
    mask: str
    ground_truth: str
    scene: str | None
    """The scene in the record. None: triplets of one video or with near ground truths share a scene."""


def read_triplets(
    records: Iterable[TripletFiles | Reject],
    *,
    root: Path,
    kind: str,
    limits: SampleLimits,
    parts: Collection[str],
    scenes: SceneChoice,
) -> Iterator[Triplet | Reject]:
    """Read what ``records`` name. A record that fails becomes a reject, and the next one is read.

    Args:
        records: The records, in the wanted order.
        root: The folder that none of them may leave.
        kind: The source's name, for origins and rejects.
        limits: Size and areas.
        parts: The folders directly in ``root`` that may be links to elsewhere.
        scenes: Chooses the scene of each ground truth.
    """
    for record in records:
        if isinstance(record, Reject):
            yield record
            continue
        try:
            yield _read_triplet(record, root, kind, limits, parts, scenes)
        except RejectedImage as error:
            yield error.as_reject(kind, record.name)


def _read_triplet(
    record: TripletFiles,
    root: Path,
    kind: str,
    limits: SampleLimits,
    parts: Collection[str],
    scenes: SceneChoice,
) -> Triplet:
    source_path, mask_path, truth_path = (
        path_inside(root, name, parts) for name in (record.source, record.mask, record.ground_truth)
    )
    source = read_image(source_path, max_pixels=limits.max_pixels)
    mask = read_mask(mask_path, max_pixels=limits.max_pixels)
    check_same_size(mask_path, mask.shape, source.shape[:2])
    ground_truth = read_image(truth_path, max_pixels=limits.max_pixels)
    check_same_size(truth_path, ground_truth.shape[:2], source.shape[:2])
    if record.scene is None:
        lineage = sequence_of(kind, root, record.ground_truth)
    else:
        lineage = derive_key("scene", kind, root.name, record.scene)
    whole = WholeTriplet(
        source=source,
        mask=mask,
        ground_truth=ground_truth,
        source_path=source_path,
        mask_path=mask_path,
        truth_path=truth_path,
        origin=f"{kind}:{root.name}/{record.name}",
        lineage=lineage,
    )
    return cut_triplet(whole, kind, limits, scenes)


# Folder source: ``source/``, ``mask/`` and ``ground_truth/`` with files of the same stem.

TRIPLET_PARTS = ("source", "mask", "ground_truth")


@dataclass(frozen=True, slots=True)
class StemFiles:
    """The files of one stem. Nothing has been opened."""

    stem: str
    names: dict[str, str]
    """File name by part, relative to the folder."""


class FolderConfig(SampleLimits):
    """How to read a folder of triplets."""

    path: Path = Field(description="The folder with source/, mask/ and ground_truth/.")


def list_folder(config: FolderConfig) -> Iterable[TripletFiles | Reject]:
    """One record for each stem, in their order.

    Raises:
        InputError: If the folder or one of its three parts is missing.
    """
    records = files_of_stems(config.path, TRIPLET_PARTS)
    return (record if isinstance(record, Reject) else _as_triplet(record) for record in records)


def folder_triplets(
    config: FolderConfig,
    records: Iterable[TripletFiles | Reject] | None = None,
    scenes: SceneChoice = by_pixels,
) -> Iterator[Triplet | Reject]:
    """One triplet or reject for each record.

    Args:
        config: What to read.
        records: Some of ``list_folder``. None: all.
        scenes: Chooses the scene of each ground truth.

    Raises:
        InputError: As ``list_folder``.
    """
    files = list_folder(config) if records is None else records
    return read_triplets(
        files, root=config.path, kind="folder", limits=config, parts=TRIPLET_PARTS, scenes=scenes
    )


def _as_triplet(files: StemFiles) -> TripletFiles:
    return TripletFiles(name=files.stem, scene=None, **files.names)


def files_of_stems(root: Path, parts: Sequence[str]) -> Iterable[StemFiles | Reject]:
    """One record for each stem found in any part. Incomplete and ambiguous stems are rejects.

    Raises:
        InputError: If one of the parts is missing.
    """
    for part in parts:
        if not (root / part).is_dir():
            raise InputError(root, f"holds no folder {part}/; name another folder, or make it")
    return _records(root, parts)


def _records(root: Path, parts: Sequence[str]) -> Iterator[StemFiles | Reject]:
    stems = {part: _files_by_stem(root / part) for part in parts}
    for stem in sorted(set().union(*stems.values())):
        files = {part: stems[part].get(stem, []) for part in parts}
        missing = [part for part in parts if not files[part]]
        doubled = [part for part in parts if len(files[part]) > 1]
        if printable(stem) != stem:
            detail = "its name is not UTF-8 or holds control characters; rename it"
            yield Reject(source="folder", name=stem, reason=RejectReason.BAD_RECORD, detail=detail)
        elif missing:
            detail = f"missing in {', '.join(missing)}/"
            yield Reject(source="folder", name=stem, reason=RejectReason.MISSING_FILE, detail=detail)
        elif doubled:
            detail = f"several files with this stem in {', '.join(doubled)}/"
            yield Reject(source="folder", name=stem, reason=RejectReason.BAD_RECORD, detail=detail)
        else:
            yield StemFiles(stem, {part: f"{part}/{files[part][0]}" for part in parts})


def _files_by_stem(folder: Path) -> dict[str, list[str]]:
    stems: dict[str, list[str]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir():
            stems.setdefault(path.stem, []).append(path.name)
    return stems


# meta.json source: RORem's published layout. Its ``GT`` is called ground_truth from here on.
#
# The file is a list of records with ``source``, ``mask`` and ``GT``, as paths relative to the file's folder
# (what RORem's loader reads). A record may name its ``scene``. Other keys are ignored.

META_PARTS = ("source", "mask", "GT")
"""The folders of RORem's layout."""


class MetaJsonConfig(SampleLimits):
    """How to read a dataset in RORem's layout."""

    path: Path = Field(description="The meta.json. The images lie in its folder or below.")


class MetaRecord(BaseModel):
    """One record of a ``meta.json``, as it is written there."""

    model_config = ConfigDict(frozen=True, strict=True)

    source: str = Field(min_length=1)
    mask: str = Field(min_length=1)
    ground_truth: str = Field(min_length=1, alias="GT")
    scene: str | None = Field(default=None, max_length=4096)


def list_meta_json(config: MetaJsonConfig) -> Iterable[TripletFiles | Reject]:
    """The records in the order of the file.

    Raises:
        InputError: If the file is missing, is not JSON, or is not a list.
    """
    return _meta_records(config.path.name, load_records(config.path))


def meta_json_triplets(
    config: MetaJsonConfig,
    records: Iterable[TripletFiles | Reject] | None = None,
    scenes: SceneChoice = by_pixels,
) -> Iterator[Triplet | Reject]:
    """One triplet or reject for each record.

    Args:
        config: What to read.
        records: Some of ``list_meta_json``. None: all.
        scenes: Chooses the scene of each ground truth.

    Raises:
        InputError: As ``list_meta_json``.
    """
    files = list_meta_json(config) if records is None else records
    root = config.path.parent
    return read_triplets(files, root=root, kind="meta.json", limits=config, parts=META_PARTS, scenes=scenes)


def load_records(path: Path) -> list[object]:
    """The records of the file, unchecked.

    Raises:
        InputError: As ``list_meta_json``.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_int=_number)
    except OSError as error:
        raise InputError(
            path, f"cannot be read ({error.strerror}); check the file and its permissions"
        ) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise InputError(path, "it is not JSON in UTF-8") from error
    except json.JSONDecodeError as error:
        raise InputError(path, f"it is not JSON: {error.msg} in line {error.lineno}") from error
    if not isinstance(content, list):
        raise InputError(path, f"holds a {type(content).__name__} in place of a list of records; give a list")
    return content


def names_in(records: Iterable[object]) -> Iterable[str]:
    """The strings in a meta.json's records that stand for paths."""
    for record in records:
        if isinstance(record, dict):
            words = (record.get(part) for part in META_PARTS)
            yield from (name for name in words if isinstance(name, str))


def _number(digits: str) -> int | float:
    """A JSON number. Python reads no integer of more than 4300 digits; no record needs such a number."""
    try:
        return int(digits)
    except ValueError:
        return float(digits)


def _meta_records(file_name: str, records: list[object]) -> Iterator[TripletFiles | Reject]:
    for number, content in enumerate(records):
        name = f"{file_name}[{number}]"
        try:
            record = MetaRecord.model_validate(content)
        except ValidationError as error:
            detail = first_fault(error)
            yield Reject(source="meta.json", name=name, reason=RejectReason.BAD_RECORD, detail=detail)
            continue
        yield TripletFiles(
            name=name,
            source=record.source,
            mask=record.mask,
            ground_truth=record.ground_truth,
            scene=record.scene,
        )
