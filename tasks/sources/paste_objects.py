"""List the objects to paste on photographs: images with masks, COCO's instances, or SA-1B's masks."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from data_specs.arrays import Mask, RgbImage
from data_specs.errors import InputError
from tasks.sources.coco import coco_tables, list_coco, read_coco_instance
from tasks.sources.found_files import Listing
from tasks.sources.image_files import check_same_size, path_inside, read_image, read_mask
from tasks.sources.pool_items import PoolRecord
from tasks.sources.sa1b import list_sa1b, read_sa1b_instance, sa1b_tables
from tasks.sources.triplet_files import StemFiles, files_of_stems

OBJECT_PARTS = ("source", "mask")


@dataclass(frozen=True, slots=True)
class PasteObject:
    """One object. Nothing has been opened."""

    name: str
    group: str
    """Names what it shares a split with: all objects of one image."""
    read: Callable[[], tuple[RgbImage, Mask]]
    """Gives the image, H×W×3 uint8, and the mask, H×W bool. It raises RejectedImage."""


def list_objects(folder: Path, max_pixels: int) -> tuple[list[PasteObject], set[str]]:
    """The objects in a folder, and the paths below it of their files.

    Args:
        folder: With source/ and mask/, with COCO's instances_*.json, or with SA-1B's sa_*.json.
        max_pixels: Larger images are refused when they are read.

    Raises:
        InputError: If it is none of the three.
    """
    if all((folder / part).is_dir() for part in OBJECT_PARTS):
        return _of_folder(folder, max_pixels)
    if coco_tables(folder):
        return _of_listing(folder, list_coco(folder), read_coco_instance, max_pixels)
    if sa1b_tables(folder):
        return _of_listing(folder, list_sa1b(folder), read_sa1b_instance, max_pixels)
    missing = next(part for part in OBJECT_PARTS if not (folder / part).is_dir())
    fault = f"holds no folder {missing}/, no instances_*.json of COCO and no sa_*.json of SA-1B"
    raise InputError(folder, f"{fault}; name a folder of objects with --objects")


def _of_folder(folder: Path, max_pixels: int) -> tuple[list[PasteObject], set[str]]:
    files = [record for record in files_of_stems(folder, OBJECT_PARTS) if isinstance(record, StemFiles)]

    def reader(names: dict[str, str]) -> Callable[[], tuple[RgbImage, Mask]]:
        def read() -> tuple[RgbImage, Mask]:
            paths = [path_inside(folder, names[part], OBJECT_PARTS) for part in OBJECT_PARTS]
            image = read_image(paths[0], max_pixels=max_pixels)
            mask = read_mask(paths[1], max_pixels=max_pixels)
            check_same_size(paths[1], mask.shape, image.shape[:2])
            return image, mask

        return read

    objects = [PasteObject(record.stem, record.stem, reader(record.names)) for record in files]
    return objects, {name for record in files for name in record.names.values()}


def _of_listing(
    folder: Path,
    listing: Listing[PoolRecord],
    read_instance: Callable[[Path, PoolRecord, int], tuple[RgbImage, Mask]],
    max_pixels: int,
) -> tuple[list[PasteObject], set[str]]:
    def reader(record: PoolRecord) -> Callable[[], tuple[RgbImage, Mask]]:
        return lambda: read_instance(folder, record, max_pixels)

    records = [record for record in listing.records if isinstance(record, PoolRecord)]
    return [PasteObject(record.name, record.image, reader(record)) for record in records], listing.named
