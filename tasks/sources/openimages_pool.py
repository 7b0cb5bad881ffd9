"""Read a pool: unlabelled images with instance masks and classes, in OpenImages' layout.

::

    folder/images/<ImageID>.jpg
    folder/masks/<MaskPath>            as in the CSV, with or without .png
    folder/train-masks-0.zip …         in place of masks/, as published: 16 archives, which stay packed
    folder/<segmentation_csv>          MaskPath, ImageID, LabelName, …
    folder/<classes_csv>               LabelName, DisplayName (OpenImages writes it with or without a header)
"""

import csv
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePath

import cv2
import numpy as np
from pydantic import Field

from data_specs.arrays import Mask
from data_specs.errors import InputError
from data_specs.keys import derive_key
from data_specs.pool_item import PoolItem
from data_specs.reject import Reject, RejectReason
from tasks.sources.image_files import check_same_size, path_inside, read_image, read_mask
from tasks.sources.pool_items import PoolLimits, PoolRecord, WholeItem, capped_items, cut_item
from tasks.sources.scenes import SceneChoice, by_pixels, sequence_of
from tasks.sources.zip_members import zip_member

_ASPECT_TOLERANCE = 0.01
_COLUMNS = ("MaskPath", "ImageID", "LabelName")
_CLASSES_CSV = "class-descriptions-boxable.csv"
_OTHER_CLASSES_CSV = (
    "oidv7-class-descriptions-boxable.csv",
    "oidv6-class-descriptions-boxable.csv",
    "oidv7-class-descriptions.csv",
    "oidv6-class-descriptions.csv",
    "class-descriptions.csv",
)
"""The names of V7 and of other releases, which are tried in this order."""
_MIN_NAMED = 0.5
"""Minimum fraction of the labels in the masks' CSV that the right file of class names has a name for."""
POOL_PARTS = ("images", "masks")
KIND = "pool"


class PoolConfig(PoolLimits):
    """How to read a pool in OpenImages' layout."""

    path: Path = Field(
        description="The folder with images/, the two CSV files, and masks/ or the archives of masks."
    )
    segmentation_csv: str = Field(
        default="train-annotations-object-segmentation.csv",
        description="The CSV of instance masks: MaskPath, ImageID, LabelName.",
    )
    classes_csv: str = Field(
        default=_CLASSES_CSV,
        description="The CSV of class names: LabelName, DisplayName. Without a value, the names of V7's "
        "and of other releases' files are tried, too.",
    )


@dataclass(frozen=True, slots=True)
class Instance:
    """One row of the segmentation CSV."""

    mask_name: str
    image_id: str
    label: str

    @property
    def image_file(self) -> str:
        """The path below images/."""
        return f"{self.image_id}.jpg"

    @property
    def mask_file(self) -> str:
        """The path below masks/."""
        return self.mask_name if self.mask_name.endswith(".png") else f"{self.mask_name}.png"


@dataclass(frozen=True, slots=True)
class Instances:
    """The content of the segmentation CSV."""

    rows: list[Instance | Reject]
    empty_lines: int


def pool_items(
    config: PoolConfig,
    start: int = 0,
    taken: Mapping[str, int] | None = None,
    scenes: SceneChoice = by_pixels,
) -> Iterator[PoolItem | Reject]:
    """Pool items, ordered by the hashes of their names. A cap then always takes the same items.

    If an image is refused, the next one of its class takes its place. Each row gives one item or reject.

    Args:
        config: What to read.
        start: Number of items and rejects to skip without opening them.
        taken: Number of skipped items of each class.
        scenes: Chooses the scene of each image.

    Raises:
        InputError: If a CSV is missing or lacks its columns.
    """
    classes = _read_classes(config)
    rows = read_instances(config).rows
    _check_release(config, classes, rows)
    records = islice(_records(config, classes, rows), start, None)
    archives = mask_archives(config)

    def read(record: PoolRecord) -> PoolItem:
        return _read_item(config, record, archives, scenes)

    return capped_items(KIND, records, config, Counter(taken), read)


def classes_path(config: PoolConfig) -> Path:
    """The CSV of class names: the one in the config, or that of another release if only that exists."""
    named = config.path / config.classes_csv
    if config.classes_csv == _CLASSES_CSV and not named.exists():
        others = (config.path / name for name in _OTHER_CLASSES_CSV)
        return next((path for path in others if path.exists()), named)
    return named


def mask_archives(config: PoolConfig) -> list[Path]:
    """The archives of masks, such as ``train-masks-0.zip``, in the folder or in masks/."""
    return [
        path
        for folder in (config.path, config.path / "masks")
        for path in sorted(folder.glob("*-masks-*.zip"))
        if path.is_file() and not path.is_symlink()
    ]


def _records(
    config: PoolConfig, classes: dict[str, str], rows: list[Instance | Reject]
) -> Iterator[PoolRecord | Reject]:
    yield from (row for row in rows if isinstance(row, Reject))
    instances = [row for row in rows if isinstance(row, Instance)]
    instances.sort(key=lambda row: derive_key(KIND, row.image_id, row.mask_name))
    for row in instances:
        if row.label in classes:
            yield PoolRecord(row.mask_name, row.image_file, classes[row.label], row)
        else:
            detail = f"label {row.label} has no name in {classes_path(config).name}"
            yield Reject(source=KIND, name=row.mask_name, reason=RejectReason.BAD_RECORD, detail=detail)


def _check_release(config: PoolConfig, classes: dict[str, str], rows: list[Instance | Reject]) -> None:
    labels = {row.label for row in rows if isinstance(row, Instance)}
    named = len(labels & classes.keys())
    if named < _MIN_NAMED * len(labels):
        fault = (
            f"it names {named} of the {len(labels)} classes in {config.segmentation_csv}, so it belongs to "
            f"another release; download {_OTHER_CLASSES_CSV[0]}"
        )
        raise InputError(classes_path(config), fault)


def _read_item(config: PoolConfig, record: PoolRecord, archives: list[Path], scenes: SceneChoice) -> PoolItem:
    row = record.segmentation
    assert isinstance(row, Instance)
    image_path = path_inside(config.path / "images", row.image_file)
    image = read_image(image_path, max_pixels=config.max_pixels)
    mask_path = path_inside(config.path / "masks", row.mask_file)
    mask_file = None if os.path.exists(mask_path) else zip_member(archives, PurePath(row.mask_file).name)
    mask = read_mask(mask_file or mask_path, max_pixels=config.max_pixels)
    whole = WholeItem(
        image=image,
        mask=_fit_mask(mask_path, mask, image.shape[:2]),
        image_path=image_path,
        mask_path=mask_path,
        origin=f"{KIND}:{row.image_id}/{row.mask_name}",
        class_name=record.class_name,
        lineage=sequence_of(KIND, config.path, row.image_file),
    )
    return cut_item(whole, KIND, config, scenes)


def _fit_mask(path: Path, mask: Mask, size: tuple[int, int]) -> Mask:
    """Resize a mask to its image. OpenImages drew some masks at other sizes but of the same shape.

    Raises:
        RejectedImage: SIZE_MISMATCH if the ratio of width to height differs by more than 1 %.
    """
    (mask_height, mask_width), (height, width) = mask.shape, size
    if abs(mask_width * height / (mask_height * width) - 1) > _ASPECT_TOLERANCE:
        check_same_size(path, mask.shape, size)
    fitted = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return fitted.astype(bool)


def _lines(path: Path) -> list[str]:
    if path.exists() and not path.is_file():
        raise InputError(path, "is not a file")  # A pipe would make it wait.
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
            return file.read().split("\n")
    except OSError as error:
        raise InputError(
            path, f"cannot be read ({error.strerror}); check the file and its permissions"
        ) from error


def _fields(line: str) -> list[str]:
    """The fields of one line. Each line is parsed alone: a stray quote then spoils no other line.

    Raises:
        ValueError: If the line is invalid, with the reason.
    """
    try:
        line.encode()
        return next(csv.reader([line], strict=True), [])
    except UnicodeEncodeError as error:
        raise ValueError("it is not UTF-8") from error
    except csv.Error as error:
        raise ValueError(f"a quote or a line break is out of place ({error})") from error


def _read_classes(config: PoolConfig) -> dict[str, str]:
    """LabelName → DisplayName."""
    path = classes_path(config)
    if not path.exists():
        fault = f"holds no file of class names {path.name}; download {_OTHER_CLASSES_CSV[0]}"
        raise InputError(config.path, fault)
    classes: dict[str, str] = {}
    for number, line in enumerate(_lines(path), start=1):
        if not line:
            continue
        try:
            label, name = _fields(line)[:2]
        except ValueError as error:
            fault = f"line {number} does not hold a LabelName and a DisplayName in UTF-8"
            raise InputError(path, fault) from error
        classes[label] = name
    classes.pop("LabelName", None)
    return classes


def read_instances(config: PoolConfig) -> Instances:
    """The rows of the segmentation CSV in the file's order. Broken rows are rejects.

    Raises:
        InputError: If it cannot be read or lacks its columns.
    """
    path = config.path / config.segmentation_csv
    header, *lines = _lines(path)
    columns = _header(path, header)
    places = [columns.index(column) for column in _COLUMNS]
    rows = [_instance(f"{path.name}:{number}", line, places) for number, line in enumerate(lines, 2) if line]
    # The end of the last line is no empty line.
    return Instances(rows, max(0, lines.count("") - 1))


def _header(path: Path, line: str) -> list[str]:
    try:
        columns = _fields(line)
    except ValueError:
        columns = []
    missing = [column for column in _COLUMNS if column not in columns]
    if missing:
        raise InputError(path, f"its first line lacks the columns {', '.join(missing)}; add them")
    return columns


def _instance(name: str, line: str, places: list[int]) -> Instance | Reject:
    try:
        row = _fields(line)
    except ValueError as error:
        return Reject(source=KIND, name=name, reason=RejectReason.BAD_RECORD, detail=str(error))
    values = [row[place] if place < len(row) else "" for place in places]
    if all(values):
        return Instance(*values)
    detail = "MaskPath, ImageID or LabelName is empty"
    return Reject(source=KIND, name=name, reason=RejectReason.BAD_RECORD, detail=detail)
