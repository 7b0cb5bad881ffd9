"""Make pool items of instances with classes: which classes are left out, and how many a class may give.

RORem leaves out clothes and body parts, and takes at most 500 images of a class. The list of classes is NOT
PUBLISHED; the list below is ours, and a field of the config.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field

from data_specs.arrays import Mask, RgbImage
from data_specs.keys import derive_key
from data_specs.pool_item import PoolItem
from data_specs.reject import Reject, RejectReason
from tasks.sources.image_files import RejectedImage
from tasks.sources.image_ops import cut_image
from tasks.sources.samples import SampleLimits, sample_mask, sample_square
from tasks.sources.scenes import SceneChoice

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


class PoolLimits(SampleLimits):
    """Which instances become pool items."""

    excluded_classes: tuple[str, ...] = Field(
        default=BODY_PARTS + CLOTHES,
        description="Classes to leave out, in capital or small letters. The default is body parts and "
        "clothes. RORem's own list is not published.",
    )
    class_cap: int = Field(
        default=500, ge=1, le=1_000_000, description="Maximum number of items of one class."
    )

    @cached_property
    def excluded_names(self) -> frozenset[str]:
        """The excluded classes in small letters."""
        return frozenset(name.lower() for name in self.excluded_classes)


@dataclass(frozen=True, slots=True)
class PoolRecord:
    """One instance. Nothing has been opened."""

    name: str
    """The mask's, for people."""
    image: str
    """Path below the data set's folder."""
    class_name: str
    segmentation: Any = None
    """The mask as the data set's JSON gives it. None if it is a file."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WholeItem:
    """An instance in the size of its image."""

    image: RgbImage
    """H×W×3 uint8."""
    mask: Mask
    """H×W bool."""
    image_path: Path
    """For messages, like the next one."""
    mask_path: Path
    origin: str
    """``kind:image/mask``."""
    class_name: str
    lineage: str | None
    """The key of the scene or video that the source names."""


def capped_items(
    kind: str,
    records: Iterable[PoolRecord | Reject],
    limits: PoolLimits,
    taken: Counter[str],
    read: Callable[[PoolRecord], PoolItem],
) -> Iterator[PoolItem | Reject]:
    """One item or reject for each record. If one is refused, the next of its class takes its place.

    Args:
        kind: The source's name.
        records: In an order that does not favour any.
        limits: Excluded classes, and the cap.
        taken: Number of items of each class before the first record. It is counted on.
        read: Opens a record. It raises RejectedImage.
    """
    for record in records:
        if isinstance(record, Reject):
            yield record
            continue
        refused = refusal_of(kind, record, limits, taken[record.class_name])
        if refused is not None:
            yield refused
            continue
        try:
            item = read(record)
        except RejectedImage as error:
            yield error.as_reject(kind, record.name)
            continue
        taken[record.class_name] += 1
        yield item


def refusal_of(kind: str, record: PoolRecord, limits: PoolLimits, taken: int) -> Reject | None:
    """Why a record is not opened: its class is excluded or full. None if it is opened.

    Args:
        kind: The source's name.
        record: The record.
        limits: Excluded classes, and the cap.
        taken: Number of earlier items of its class.
    """
    name = record.class_name
    if name.lower() in limits.excluded_names:
        return Reject(source=kind, name=record.name, reason=RejectReason.CLASS_EXCLUDED, detail=name)
    if taken >= limits.class_cap:
        detail = f"{name} has {limits.class_cap} items already"
        return Reject(source=kind, name=record.name, reason=RejectReason.CLASS_FULL, detail=detail)
    return None


def cut_item(whole: WholeItem, kind: str, limits: PoolLimits, scenes: SceneChoice) -> PoolItem:
    """The square about the mask as a pool item of ``limits.size_px``.

    Raises:
        RejectedImage: TOO_SMALL, MASK_EMPTY, MASK_FULL, MASK_AREA or TWO_SPLITS.
    """
    square = sample_square(whole.image_path, whole.image, whole.mask, limits)
    source = cut_image(whole.image, square, limits.size_px)
    mask = sample_mask(whole.mask_path, whole.mask, square, limits)
    scene, split = scenes(whole.image_path, whole.image, limits, whole.lineage)
    return PoolItem(
        key=derive_key(kind, source, mask, whole.class_name),
        scene=scene,
        split=split,
        origin=whole.origin,
        class_name=whole.class_name,
        source=source,
        mask=mask,
    )
