"""A triplet: the image with the object, a mask of the object, the image without it; and its effect mask."""

from dataclasses import dataclass

from data_specs.arrays import Mask, RgbImage
from data_specs.keys import Split


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Triplet:
    """One training or test sample (RORem, stage 1: source, mask, ground truth)."""

    key: str
    """Derived from its origin. Unique in the ledger."""
    scene: str
    """Lineage: all samples of one scene share this key, and therefore the split."""
    split: Split
    origin: str
    """Its origin in readable form: ``clip:pedestrians.avi@120``, ``studio:7/42`` …"""
    source: RgbImage
    """H×W×3 uint8, with the object."""
    mask: Mask
    """H×W bool, True on the object (not on its shadow)."""
    ground_truth: RgbImage
    """H×W×3 uint8, the same view without the object and its effects."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EffectTriplet(Triplet):
    """A triplet whose M_fg is stored, because its maker knows it (ObjectClear: composites and OBER)."""

    foreground: Mask
    """H×W bool, M_fg: True wherever the object or its effect touches the image. Contains the mask."""
