"""Pool source: unlabelled pictures with instance masks and classes, in OpenImages' layout.

::

    folder/images/<ImageID>.jpg
    folder/masks/<MaskPath>            as the CSV names it, with .png or without
    folder/<segmentation_csv>          MaskPath, ImageID, LabelName, …
    folder/<classes_csv>               LabelName, DisplayName (OpenImages writes it with or without a header)

RORem leaves out clothes and body parts and takes at most 500 pictures a class. WHICH classes is NOT
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
from tasks.pictures import RejectedPicture, check_same_size, path_inside, read_mask, read_picture
from tasks.sources.scene_choice import SceneChoice, by_pixels, film_of
from tasks.sources.squares import cut_picture
from tasks.sources.triplet_files import SampleLimits, sample_mask, sample_square

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


class PoolConfig(SampleLimits):
    """How a pool in OpenImages' layout is read."""

    path: Path = Field(description="The folder that holds images/, masks/ and the two CSV files.")
    segmentation_csv: str = Field(
        default="train-annotations-object-segmentation.csv",
        description="The CSV of instance masks: MaskPath, ImageID, LabelName.",
    )
    classes_csv: str = Field(
        default="class-descriptions-boxable.csv",
        description="The CSV of class names: LabelName, DisplayName.",
    )
    excluded_classes: tuple[str, ...] = Field(
        default=BODY_PARTS + CLOTHES,
        description="Classes left out: body parts and clothes. RORem's own list is not published.",
    )
    class_cap: int = Field(
        default=500, ge=1, le=1_000_000, description="At most this many items of one class."
    )


@dataclass(frozen=True, slots=True)
class _Instance:
    """One row of the segmentation CSV."""

    mask_name: str
    image_id: str
    label: str


def pool_items(
    config: PoolConfig,
    start: int = 0,
    taken: Mapping[str, int] | None = None,
    scenes: SceneChoice = by_pixels,
) -> Iterator[PoolItem | Reject]:
    """Pool items in an order fixed by their names' hashes, so that a cap takes the same ones every time.

    A refused picture leaves its place in the class to the next one. One item or reject a row.

    Args:
        config: What to read.
        start: Items and rejects to pass over, unopened.
        taken: How many items of each class are among those passed over.
        scenes: Chooses each picture's scene.

    Raises:
        InputError: When a CSV is missing or lacks its columns.
    """
    classes = _read_classes(config.path / config.classes_csv)
    rows = _read_instances(config.path / config.segmentation_csv)
    return _items(config, classes, rows, start, Counter(taken), scenes)


def _items(
    config: PoolConfig,
    classes: dict[str, str],
    rows: list[_Instance | Reject],
    start: int,
    taken: Counter[str],
    scenes: SceneChoice,
) -> Iterator[PoolItem | Reject]:
    excluded = frozenset(config.excluded_classes)
    broken = [row for row in rows if isinstance(row, Reject)]
    instances = [row for row in rows if isinstance(row, _Instance)]
    instances.sort(key=lambda row: derive_key("pool", row.image_id, row.mask_name))
    yield from broken[start:]
    for row in instances[max(0, start - len(broken)) :]:
        class_name = classes.get(row.label)
        if class_name is None:
            yield _reject(
                row, RejectReason.BAD_RECORD, f"label {row.label} has no name in {config.classes_csv}"
            )
        elif class_name in excluded:
            yield _reject(row, RejectReason.CLASS_EXCLUDED, class_name)
        elif taken[class_name] >= config.class_cap:
            yield _reject(row, RejectReason.CLASS_FULL, f"{class_name} has its {config.class_cap}")
        else:
            try:
                item = _read_item(config, row, class_name, scenes)
            except RejectedPicture as error:
                yield error.as_reject("pool", row.mask_name)
                continue
            taken[class_name] += 1
            yield item


def _read_item(config: PoolConfig, row: _Instance, class_name: str, scenes: SceneChoice) -> PoolItem:
    picture_path = path_inside(config.path / "images", f"{row.image_id}.jpg")
    mask_name = row.mask_name if row.mask_name.endswith(".png") else f"{row.mask_name}.png"
    mask_path = path_inside(config.path / "masks", mask_name)
    picture = read_picture(picture_path, limit_pixels=config.limit_pixels)
    mask = read_mask(mask_path, limit_pixels=config.limit_pixels)
    mask = _fit_mask(mask_path, mask, picture.shape[:2])
    square = sample_square(picture_path, picture, mask, config)
    source = cut_picture(picture, square, config.size_px)
    small_mask = sample_mask(mask_path, mask, square, config)
    film = film_of("pool", config.path, f"{row.image_id}.jpg")
    scene, split = scenes(picture_path, picture, config, film)
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
    """OpenImages drew its masks on pictures of other sizes: the same shape is enlarged or reduced to fit.

    Raises:
        RejectedPicture: SIZE_MISMATCH when width to height differs by more than 1 %.
    """
    (mask_height, mask_width), (height, width) = mask.shape, size
    if abs(mask_width * height / (mask_height * width) - 1) > _ASPECT_TOLERANCE:
        check_same_size(path, mask.shape, size)
    fitted = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return fitted.astype(bool)


def _reject(row: _Instance, reason: RejectReason, detail: str) -> Reject:
    return Reject(source="pool", name=row.mask_name, reason=reason, detail=detail)


def _read_rows(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(csv.reader(file))
    except OSError as error:
        raise InputError(path, f"it cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(path, "it is not a CSV in UTF-8") from error


def _read_classes(path: Path) -> dict[str, str]:
    """LabelName → DisplayName."""
    rows = [row for row in _read_rows(path) if row]
    if any(len(row) < 2 for row in rows):
        raise InputError(path, "each line must hold a LabelName and a DisplayName")
    return {row[0]: row[1] for row in rows if row[0] != "LabelName"}


def _read_instances(path: Path) -> list[_Instance | Reject]:
    rows = _read_rows(path)
    header = rows[0] if rows else []
    missing = [column for column in _COLUMNS if column not in header]
    if missing:
        raise InputError(path, f"its first line lacks the columns {', '.join(missing)}")
    places = [header.index(column) for column in _COLUMNS]
    found: list[_Instance | Reject] = []
    for number, row in enumerate(rows[1:], start=2):
        values = [row[place] if place < len(row) else "" for place in places]
        if all(values):
            found.append(_Instance(*values))
        elif row:
            detail = "MaskPath, ImageID or LabelName is empty"
            name = f"{path.name}:{number}"
            found.append(Reject(source="pool", name=name, reason=RejectReason.BAD_RECORD, detail=detail))
    return found
