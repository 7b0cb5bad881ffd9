"""Read a pool: unlabelled images with instance masks and classes, in OpenImages' layout.

::

    folder/images/<ImageID>.jpg
    folder/masks/<MaskPath>            as in the CSV, with or without .png
    folder/<segmentation_csv>          MaskPath, ImageID, LabelName, …
    folder/<classes_csv>               LabelName, DisplayName (OpenImages writes it with or without a header)

RORem leaves out clothes and body parts, and takes at most 500 images of a class. The list of classes is NOT
PUBLISHED; the list below is ours, and a field of the config.
"""

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from pydantic import Field

from data_specs.arrays import Mask
from data_specs.errors import InputError
from data_specs.keys import derive_key
from data_specs.pool_item import PoolItem
from data_specs.reject import Reject, RejectReason
from tasks.sources.image_files import RejectedImage, check_same_size, path_inside, read_image, read_mask
from tasks.sources.image_ops import cut_image
from tasks.sources.samples import SampleLimits, sample_mask, sample_square
from tasks.sources.scenes import SceneChoice, by_pixels, sequence_of

BODY_PARTS = (
    "Human arm",
    "Human beard",
    "Human body",
    "Human ear",
    "Human eye",
    "Human face",
    "Human foot",
    "Human hair",
    "Human hand",
    "Human head",
    "Human leg",
    "Human mouth",
    "Human nose",
)
CLOTHES = (
    "Belt",
    "Boot",
    "Brassiere",
    "Clothing",
    "Coat",
    "Cowboy hat",
    "Dress",
    "Fashion accessory",
    "Fedora",
    "Footwear",
    "Glasses",
    "Glove",
    "Goggles",
    "Hat",
    "Helmet",
    "High heels",
    "Jacket",
    "Jeans",
    "Miniskirt",
    "Sandal",
    "Scarf",
    "Shirt",
    "Shorts",
    "Skirt",
    "Sock",
    "Sombrero",
    "Sports uniform",
    "Suit",
    "Sun hat",
    "Sunglasses",
    "Swimwear",
    "Tie",
    "Trousers",
)
_ASPECT_TOLERANCE = 0.01
_COLUMNS = ("MaskPath", "ImageID", "LabelName")
_CLASSES_CSV, _CLASSES_CSV_V7 = "class-descriptions-boxable.csv", "oidv7-class-descriptions-boxable.csv"
POOL_PARTS = ("images", "masks")


class PoolConfig(SampleLimits):
    """How to read a pool in OpenImages' layout."""

    path: Path = Field(description="The folder with images/, masks/ and the two CSV files.")
    segmentation_csv: str = Field(
        default="train-annotations-object-segmentation.csv",
        description="The CSV of instance masks: MaskPath, ImageID, LabelName.",
    )
    classes_csv: str = Field(
        default=_CLASSES_CSV,
        description="The CSV of class names: LabelName, DisplayName. Without a value, the name of V7's "
        "file is tried, too.",
    )
    excluded_classes: tuple[str, ...] = Field(
        default=BODY_PARTS + CLOTHES,
        description="Classes to leave out. The default is body parts and clothes. RORem's own list is not "
        "published.",
    )
    class_cap: int = Field(
        default=500, ge=1, le=1_000_000, description="Maximum number of items of one class."
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
    classes = _read_classes(classes_path(config))
    rows = read_instances(config).rows
    return _items(config, classes, rows, start, Counter(taken), scenes)


def classes_path(config: PoolConfig) -> Path:
    """The CSV of class names: the one in the config, or OpenImages V7's if only that exists."""
    named, newer = config.path / config.classes_csv, config.path / _CLASSES_CSV_V7
    return newer if config.classes_csv == _CLASSES_CSV and newer.exists() and not named.exists() else named


def _items(
    config: PoolConfig,
    classes: dict[str, str],
    rows: list[Instance | Reject],
    start: int,
    taken: Counter[str],
    scenes: SceneChoice,
) -> Iterator[PoolItem | Reject]:
    excluded = frozenset(config.excluded_classes)
    broken = [row for row in rows if isinstance(row, Reject)]
    instances = [row for row in rows if isinstance(row, Instance)]
    instances.sort(key=lambda row: derive_key("pool", row.image_id, row.mask_name))
    yield from broken[start:]
    for row in instances[max(0, start - len(broken)) :]:
        class_name = classes.get(row.label)
        if class_name is None:
            yield _reject(
                row, RejectReason.BAD_RECORD, f"label {row.label} has no name in {classes_path(config).name}"
            )
        elif class_name in excluded:
            yield _reject(row, RejectReason.CLASS_EXCLUDED, class_name)
        elif taken[class_name] >= config.class_cap:
            yield _reject(row, RejectReason.CLASS_FULL, f"{class_name} has {config.class_cap} items already")
        else:
            try:
                item = _read_item(config, row, class_name, scenes)
            except RejectedImage as error:
                yield error.as_reject("pool", row.mask_name)
                continue
            taken[class_name] += 1
            yield item


def _read_item(config: PoolConfig, row: Instance, class_name: str, scenes: SceneChoice) -> PoolItem:
    image_path = path_inside(config.path / "images", row.image_file)
    mask_path = path_inside(config.path / "masks", row.mask_file)
    image = read_image(image_path, max_pixels=config.max_pixels)
    mask = read_mask(mask_path, max_pixels=config.max_pixels)
    mask = _fit_mask(mask_path, mask, image.shape[:2])
    square = sample_square(image_path, image, mask, config)
    source = cut_image(image, square, config.size_px)
    small_mask = sample_mask(mask_path, mask, square, config)
    sequence = sequence_of("pool", config.path, row.image_file)
    scene, split = scenes(image_path, image, config, sequence)
    return PoolItem(
        key=derive_key("pool", source, small_mask, class_name),
        scene=scene,
        split=split,
        origin=f"pool:{row.image_id}/{row.mask_name}",
        class_name=class_name,
        source=source,
        mask=small_mask,
    )


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


def _reject(row: Instance, reason: RejectReason, detail: str) -> Reject:
    return Reject(source="pool", name=row.mask_name, reason=reason, detail=detail)


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


def _read_classes(path: Path) -> dict[str, str]:
    """LabelName → DisplayName."""
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
        return Reject(source="pool", name=name, reason=RejectReason.BAD_RECORD, detail=str(error))
    values = [row[place] if place < len(row) else "" for place in places]
    if all(values):
        return Instance(*values)
    detail = "MaskPath, ImageID or LabelName is empty"
    return Reject(source="pool", name=name, reason=RejectReason.BAD_RECORD, detail=detail)
