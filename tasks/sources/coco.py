"""Read COCO's instances as a pool: ``instances_*.json`` with polygons and run lengths, and folders of images.

::

    folder/annotations/instances_train2017.json    or beside the images' folder
    folder/train2017/000000000009.jpg               or in images/train2017/, or in images/
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import Field

from data_specs.arrays import Mask, RgbImage
from data_specs.errors import InputError
from data_specs.keys import derive_key
from data_specs.pool_item import PoolItem
from data_specs.reject import Reject, RejectReason
from tasks.sources.found_files import Listing
from tasks.sources.image_files import RejectedImage, path_inside, read_image
from tasks.sources.instance_masks import BadAnnotationError, segmentation_mask
from tasks.sources.pool_items import PoolLimits, PoolRecord, WholeItem, capped_items, cut_item
from tasks.sources.scenes import SceneChoice, by_pixels, sequence_of

KIND = "coco"
COCO_PARTS = ("annotations", "images", "train2017", "val2017", "train2014", "val2014")
"""The folders directly in the data set that may be links to elsewhere."""


class CocoConfig(PoolLimits):
    """How to read COCO's instances."""

    path: Path = Field(description="The folder with annotations/instances_*.json and the images' folders.")


def coco_tables(root: Path) -> list[Path]:
    """The files of instances, in order. Empty if there is none."""
    return sorted([*root.glob("instances_*.json"), *root.glob("annotations/instances_*.json")])


def list_coco(root: Path) -> Listing[PoolRecord]:
    """Every annotation of every file of instances, ordered by the hashes of their names.

    Raises:
        InputError: If there is no such file, if one cannot be read, or if its images have no folder.
    """
    tables = coco_tables(root)
    if not tables:
        fault = (
            "holds no annotations/instances_*.json; download COCO's train/val annotations, and unpack them"
        )
        raise InputError(root, fault)
    records: list[PoolRecord | Reject] = []
    named = {str(table.relative_to(root)) for table in tables}
    for table in tables:
        facts = table.stat()
        own = _records_at(root, table, facts.st_mtime_ns, facts.st_size)
        records += own
        named |= {record.image for record in own if isinstance(record, PoolRecord)}
    records.sort(key=lambda record: derive_key(KIND, record.name))
    return Listing(records, named)


def coco_items(
    config: CocoConfig,
    records: Iterable[PoolRecord | Reject] | None = None,
    taken: Mapping[str, int] | None = None,
    scenes: SceneChoice = by_pixels,
) -> Iterator[PoolItem | Reject]:
    """One pool item or reject for each annotation.

    Args:
        config: What to read.
        records: Some of ``list_coco``. None: all.
        taken: Number of earlier items of each class.
        scenes: Chooses the scene of each image.

    Raises:
        InputError: As ``list_coco``.
    """
    own = list_coco(config.path).records if records is None else records

    def read(record: PoolRecord) -> PoolItem:
        image, mask = read_coco_instance(config.path, record, config.max_pixels)
        path = config.path / record.image
        whole = WholeItem(
            image=image,
            mask=mask,
            image_path=path,
            mask_path=Path(record.name),
            origin=f"{KIND}:{config.path.name}/{record.name}",
            class_name=record.class_name,
            lineage=sequence_of(KIND, config.path, record.image),
        )
        return cut_item(whole, KIND, config, scenes)

    return capped_items(KIND, own, config, Counter(taken), read)


def read_coco_instance(root: Path, record: PoolRecord, max_pixels: int) -> tuple[RgbImage, Mask]:
    """The image, H×W×3 uint8, and the instance's mask, H×W bool.

    Raises:
        RejectedImage: As ``read_image``, and BAD_RECORD if the mask cannot be decoded.
    """
    image = read_image(path_inside(root, record.image, COCO_PARTS), max_pixels=max_pixels)
    try:
        return image, segmentation_mask(record.segmentation, image.shape[:2])
    except BadAnnotationError as error:
        raise RejectedImage(record.name, RejectReason.BAD_RECORD, str(error)) from error


@lru_cache(maxsize=4)
def _records_at(root: Path, table: Path, changed_ns: int, size: int) -> list[PoolRecord | Reject]:
    """The annotations of one file. The last two arguments make a changed file another one."""
    content = _content(table)
    folder = _folder_of(root, table)
    images = {image.get("id"): image.get("file_name") for image in content["images"]}
    classes = {category.get("id"): category.get("name") for category in content["categories"]}
    return [
        _record(f"{table.stem}#{number}", annotation, folder, images, classes)
        for number, annotation in enumerate(content["annotations"])
    ]


def _record(
    name: str, annotation: dict[str, Any], folder: str, images: dict[Any, Any], classes: dict[Any, Any]
) -> PoolRecord | Reject:
    image = images.get(annotation.get("image_id"))
    class_name = classes.get(annotation.get("category_id"))
    if not isinstance(image, str) or not isinstance(class_name, str):
        detail = "its image or its category is not listed"
        return Reject(source=KIND, name=name, reason=RejectReason.BAD_RECORD, detail=detail)
    if annotation.get("iscrowd"):
        return Reject(source=KIND, name=name, reason=RejectReason.CROWD, detail=f"{class_name} in {image}")
    return PoolRecord(name, f"{folder}/{image}", class_name, annotation.get("segmentation"))


def _content(table: Path) -> dict[str, Any]:
    try:
        content = json.loads(table.read_bytes())
    except OSError as error:
        raise InputError(table, f"cannot be read ({error.strerror}); check its permissions") from error
    except (ValueError, RecursionError) as error:
        raise InputError(table, "it is no whole JSON; download it again") from error
    lists = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(
        isinstance(content.get(name), list) and all(isinstance(entry, dict) for entry in content[name])
        for name in lists
    ):
        raise InputError(table, f"it lacks the lists {', '.join(lists)}; give COCO's file of instances")
    return content


def _folder_of(root: Path, table: Path) -> str:
    """The folder of a file's images: ``train2017`` for ``instances_train2017.json``."""
    name = table.stem.removeprefix("instances_")
    for folder in (name, f"images/{name}", "images"):
        if (root / folder).is_dir():
            return folder
    raise InputError(root, f"holds {table.name} and no folder {name}/; unpack {name}.zip there")
