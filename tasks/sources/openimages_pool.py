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
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
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
_KEY_BYTES = 10
"""Bytes of the key that rows are sorted by."""
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


def list_pool(config: PoolConfig) -> Iterator[PoolRecord | Reject]:
    """The rows of the masks' CSV, ordered by the hashes of their names. A cap then always takes the same.

    Broken rows come first. The CSV is read once. A row takes about 100 bytes of memory meanwhile.

    Raises:
        InputError: If a CSV is missing or lacks its columns.
    """
    classes = _read_classes(config)
    kept, sort_keys, labels = _Texts(), bytearray(), set[str]()
    for row in PoolRows(config):
        if isinstance(row, Reject):
            yield row
            continue
        mask_name, image_id, label = row
        labels.add(label)
        sort_keys += bytes.fromhex(derive_key(KIND, image_id, mask_name))
        kept.add("\n".join(row))
    _check_release(config, classes, labels)
    for place in np.argsort(np.frombuffer(sort_keys, f"S{_KEY_BYTES}"), kind="stable"):
        mask_name, image_id, label = kept[place].split("\n")
        if label in classes:
            yield PoolRecord(mask_name, f"{image_id}.jpg", classes[label])
        else:
            detail = f"label {label} has no name in {classes_path(config).name}"
            yield Reject(source=KIND, name=mask_name, reason=RejectReason.BAD_RECORD, detail=detail)


class _Texts:
    """Many short texts, in one block of memory."""

    def __init__(self) -> None:
        self._block = bytearray()
        self._ends = array("q", [0])

    def add(self, text: str) -> None:
        self._block += text.encode()
        self._ends.append(len(self._block))

    def __getitem__(self, place: int) -> str:
        return self._block[self._ends[place] : self._ends[place + 1]].decode()


def pool_items(
    config: PoolConfig,
    records: Iterable[PoolRecord | Reject] | None = None,
    taken: Mapping[str, int] | None = None,
    scenes: SceneChoice = by_pixels,
) -> Iterator[PoolItem | Reject]:
    """One item or reject for each record.

    If an image is refused, the next one of its class takes its place.

    Args:
        config: What to read.
        records: Some of ``list_pool``. None: all.
        taken: Number of earlier items of each class.
        scenes: Chooses the scene of each image.

    Raises:
        InputError: As ``list_pool``.
    """
    own = list_pool(config) if records is None else records
    archives = mask_archives(config)

    def read(record: PoolRecord) -> PoolItem:
        return _read_item(config, record, archives, scenes)

    return capped_items(KIND, own, config, Counter(taken), read)


def classes_path(config: PoolConfig) -> Path:
    """The CSV of class names: the one in the config, or that of another release if only that exists."""
    named = config.path / config.classes_csv
    if config.classes_csv == _CLASSES_CSV and not named.exists():
        others = (config.path / name for name in _OTHER_CLASSES_CSV)
        return next((path for path in others if path.exists()), named)
    return named


def mask_archives(config: PoolConfig) -> list[Path]:
    """The archives of masks, such as ``train-masks-0.zip``, in the folder or in masks/."""
    folders = (config.path, config.path / "masks")
    return [path for folder in folders for path in _archives_in(folder, _changed_ns(folder))]


@lru_cache(maxsize=8)
def _archives_in(folder: Path, changed_ns: int | None) -> list[Path]:
    """A folder may hold millions of masks. The other argument makes a changed folder another one."""
    archives = sorted(folder.glob("*-masks-*.zip"))
    return [path for path in archives if path.is_file() and not path.is_symlink()]


def _changed_ns(folder: Path) -> int | None:
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return None


def _check_release(config: PoolConfig, classes: dict[str, str], labels: set[str]) -> None:
    named = len(labels & classes.keys())
    if named < _MIN_NAMED * len(labels):
        fault = (
            f"it names {named} of the {len(labels)} classes in {config.segmentation_csv}, so it belongs to "
            f"another release; download {_OTHER_CLASSES_CSV[0]}"
        )
        raise InputError(classes_path(config), fault)


def mask_file(mask_name: str) -> str:
    """The path below masks/."""
    return mask_name if mask_name.endswith(".png") else f"{mask_name}.png"


def _read_item(config: PoolConfig, record: PoolRecord, archives: list[Path], scenes: SceneChoice) -> PoolItem:
    image_path = path_inside(config.path / "images", record.image)
    image = read_image(image_path, max_pixels=config.max_pixels)
    mask_path = path_inside(config.path / "masks", mask_file(record.name))
    held = None if os.path.exists(mask_path) else zip_member(archives, PurePath(mask_file(record.name)).name)
    mask = read_mask(held or mask_path, max_pixels=config.max_pixels)
    whole = WholeItem(
        image=image,
        mask=_fit_mask(mask_path, mask, image.shape[:2]),
        image_path=image_path,
        mask_path=mask_path,
        origin=f"{KIND}:{record.image.removesuffix('.jpg')}/{record.name}",
        class_name=record.class_name,
        lineage=sequence_of(KIND, config.path, record.image),
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


def _lines(path: Path) -> Iterator[str]:
    """The lines of a text file, without their ends."""
    if path.exists() and not path.is_file():
        raise InputError(path, "is not a file")  # A pipe would make it wait.
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
            for line in file:
                yield line.removesuffix("\n")
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


class PoolRows:
    """The rows of the masks' CSV in the file's order: MaskPath, ImageID and LabelName.

    Broken rows are rejects. Each pass through them reads the file.

    Raises:
        InputError: If the CSV cannot be read or lacks its columns.
    """

    def __init__(self, config: PoolConfig) -> None:
        self._path = config.path / config.segmentation_csv
        self.empty_lines = 0
        """Number of lines that hold nothing, in the last pass."""

    def __iter__(self) -> Iterator[tuple[str, str, str] | Reject]:
        lines = _lines(self._path)
        columns = _header(self._path, next(lines, ""))
        places = [columns.index(column) for column in _COLUMNS]
        self.empty_lines = 0
        for number, line in enumerate(lines, 2):
            if line:
                yield _row(f"{self._path.name}:{number}", line, places)
            else:
                self.empty_lines += 1


def _header(path: Path, line: str) -> list[str]:
    try:
        columns = _fields(line)
    except ValueError:
        columns = []
    missing = [column for column in _COLUMNS if column not in columns]
    if missing:
        raise InputError(path, f"its first line lacks the columns {', '.join(missing)}; add them")
    return columns


def _row(name: str, line: str, places: list[int]) -> tuple[str, str, str] | Reject:
    try:
        row = _fields(line)
    except ValueError as error:
        return Reject(source=KIND, name=name, reason=RejectReason.BAD_RECORD, detail=str(error))
    mask_name, image_id, label = (row[place] if place < len(row) else "" for place in places)
    if mask_name and image_id and label:
        return mask_name, image_id, label
    detail = "MaskPath, ImageID or LabelName is empty"
    return Reject(source=KIND, name=name, reason=RejectReason.BAD_RECORD, detail=detail)
