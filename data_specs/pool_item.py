"""A pool item: an unlabelled image and the mask of an object that a user might remove."""

from dataclasses import dataclass

from data_specs.arrays import Mask, RgbImage
from data_specs.keys import Split


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PoolItem:
    """One image of the pool with one instance mask (RORem, stages 2 and 3: OpenImages)."""

    key: str
    scene: str
    split: Split
    origin: str
    class_name: str
    """Class of the instance, as the pool names it (``Dog``; ``sphere`` for the synthetic source)."""
    source: RgbImage
    """H×W×3 uint8."""
    mask: Mask
    """H×W bool, True on the instance."""
