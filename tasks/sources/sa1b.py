"""Read SA-1B's masks as a pool: ``sa_*.jpg``, and ``sa_*.json`` beside it with compressed run lengths.

SA-1B has no classes. Every mask is of the class ``object``.
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
from tasks.sources.image_files import RejectedImage, opened_file, path_inside, read_image
from tasks.sources.instance_masks import BadAnnotationError, segmentation_mask
from tasks.sources.pool_items import PoolLimits, PoolRecord, WholeItem, capped_items, cut_item
from tasks.sources.scenes import SceneChoice, by_pixels

KIND = "sa1b"
SA1B_CLASS = "object"


class Sa1bConfig(PoolLimits):
    """How to read SA-1B's masks."""

    path: Path = Field(description="The folder with sa_*.jpg and sa_*.json, in it or below.")
    class_cap: int = Field(
        default=1_000_000, ge=1, le=1_000_000, description="Maximum number of items. SA-1B has one class."
    )


def sa1b_tables(root: Path) -> list[Path]:
    """The files of masks, in order. Empty if there is none."""
    return sorted(root.rglob("sa_*.json"))


def list_sa1b(root: Path) -> Listing[PoolRecord]:
    """Every mask of every image, ordered by the hashes of their names. A file that is no table is one reject.

    Raises:
        InputError: If there is no ``sa_*.json``.
    """
    tables = sa1b_tables(root)
    if not tables:
        raise InputError(root, "holds no sa_*.json; unpack SA-1B's archives, and name their folder")
    records: list[PoolRecord | Reject] = []
    for table in tables:
        try:
            facts = table.stat()
            count = _mask_count(root, table, facts.st_mtime_ns, facts.st_size)
        except (RejectedImage, OSError) as error:
            reject = error.as_reject(KIND, table.name) if isinstance(error, RejectedImage) else None
            missing = Reject(source=KIND, name=table.name, reason=RejectReason.MISSING_FILE)
            records.append(reject or missing)
            continue
        name = table.relative_to(root)
        image = str(name.with_suffix(".jpg"))
        records += [
            PoolRecord(f"{name.with_suffix('')}#{number}", image, SA1B_CLASS, [str(name), number])
            for number in range(count)
        ]
    records.sort(key=lambda record: derive_key(KIND, record.name))
    named = {str(table.relative_to(root)) for table in tables}
    return Listing(records, named | {str(Path(name).with_suffix(".jpg")) for name in named})


def sa1b_items(
    config: Sa1bConfig,
    records: Iterable[PoolRecord | Reject] | None = None,
    taken: Mapping[str, int] | None = None,
    scenes: SceneChoice = by_pixels,
) -> Iterator[PoolItem | Reject]:
    """One pool item or reject for each mask.

    Args:
        config: What to read.
        records: Some of ``list_sa1b``. None: all.
        taken: Number of earlier items.
        scenes: Chooses the scene of each image.

    Raises:
        InputError: As ``list_sa1b``.
    """
    own = list_sa1b(config.path).records if records is None else records

    def read(record: PoolRecord) -> PoolItem:
        image, mask = read_sa1b_instance(config.path, record, config.max_pixels)
        whole = WholeItem(
            image=image,
            mask=mask,
            image_path=config.path / record.image,
            mask_path=Path(record.name),
            origin=f"{KIND}:{config.path.name}/{record.name}",
            class_name=record.class_name,
            lineage=None,
        )
        return cut_item(whole, KIND, config, scenes)

    return capped_items(KIND, own, config, Counter(taken), read)


def read_sa1b_instance(root: Path, record: PoolRecord, max_pixels: int) -> tuple[RgbImage, Mask]:
    """The image, H×W×3 uint8, and one mask of it, H×W bool.

    Raises:
        RejectedImage: As ``read_image``, and BAD_RECORD if the mask cannot be decoded.
    """
    name, number = record.segmentation
    image = read_image(path_inside(root, record.image), max_pixels=max_pixels)
    try:
        annotation = _annotations(root, root / name)[number]
        return image, segmentation_mask(annotation.get("segmentation"), image.shape[:2])
    except (BadAnnotationError, IndexError) as error:
        raise RejectedImage(record.name, RejectReason.BAD_RECORD, str(error)) from error


@lru_cache(maxsize=1_000_000)
def _mask_count(root: Path, table: Path, changed_ns: int, size: int) -> int:
    """The number of masks. The last two arguments make a changed file another one."""
    return len(_annotations(root, table))


def _annotations(root: Path, table: Path) -> list[dict[str, Any]]:
    """The masks of one image.

    Raises:
        RejectedImage: OUTSIDE_FOLDER, MISSING_FILE or BAD_RECORD.
    """
    try:
        with opened_file(path_inside(root, str(table.relative_to(root)))) as file:
            annotations = json.load(file)["annotations"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RejectedImage(table, RejectReason.BAD_RECORD, "it is no table of SA-1B's masks") from error
    if not isinstance(annotations, list) or not all(isinstance(entry, dict) for entry in annotations):
        raise RejectedImage(table, RejectReason.BAD_RECORD, "its annotations are no list of records")
    return annotations
