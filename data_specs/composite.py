"""A composite: a plate with one or two cut-outs on it, and the truth about removing one of them."""

from dataclasses import dataclass

from data_specs.arrays import Mask, RgbImage
from data_specs.cutout import ShadowClass
from data_specs.keys import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedObject:
    """Position and size of a cut-out in a composite."""

    cutout: str
    """Key of the cut-out."""
    class_name: str
    shadow_class: ShadowClass
    foot: tuple[int, int]
    """Row and column in the composite."""
    scale: float
    """Its size here divided by its size in the capture."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Composite:
    """One removable object of one composed image (ObjectClear: input, ground truth, M_o, M_fg).

    An image with two objects gives two composites with one source. Each removes one object and keeps the
    other.
    """

    key: str
    """Derived from plate, cut-outs, settings and the number of the attempt."""
    scene: str
    """The plate's scene."""
    scenes: tuple[str, ...]
    """Lineage: the scenes of the plate and of every cut-out, sorted. All are in one split."""
    split: Split
    origin: str
    plate: str
    """Key of the plate."""
    objects: tuple[PlacedObject, ...]
    """All objects of the image, far to near. A later one may hide part of an earlier one."""
    removed: int
    """Index in ``objects`` of the object to remove."""
    source: RgbImage
    """H×W×3 uint8, with all objects."""
    mask: Mask
    """H×W bool, M_o: True where most of the pixel shows the object to remove."""
    foreground: Mask
    """H×W bool, M_fg: True wherever that object or its effect touches the image. Contains M_o."""
    ground_truth: RgbImage
    """H×W×3 uint8, without that object and its effect. Equals the source outside M_fg."""
