"""A composite: a plate with one or two cut-outs on it and its truth; and the result of a compositing run."""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

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


# The result of a compositing run: what each stage kept and refused, and what a cycle made of it.

CompositingStage = Literal["cut-outs", "plates", "composites"]


class StageResult(BaseModel):
    """One stage of a compositing run."""

    model_config = ConfigDict(frozen=True)

    stage: CompositingStage
    kept: int
    by_split: dict[str, int]
    rejects: dict[str, int]
    """By reason, the most frequent first."""
    ignored: dict[str, int] = {}
    """Files in the sources' folders that are not readable images, by reason."""
    tallies: dict[str, dict[str, int]]
    """Counts of the kept samples: by heading (``shadow class``, ``object area`` …) and value."""


class CompositingResult(BaseModel):
    """The result of a compositing run."""

    model_config = ConfigDict(frozen=True)

    stages: list[StageResult]
    """Cut-outs, plates, composites."""
    shards: int
    pool_items: int
    """Number of composites that also entered the pool."""
    added: int = 0
    """Number of composites that are new in the dataset version."""
    left_out: int = 0
    """Number of composites that the dataset version cannot take, because it has their scene in another
    split."""
    version: int | None = None
    """The dataset version made with them. None if none was made."""

    @property
    def composites(self) -> int:
        """Number of composites."""
        return self.stages[-1].kept


class PooledComposites(BaseModel):
    """The composites in a cycle's pool: how they were made, and what the cycle did with them."""

    model_config = ConfigDict(frozen=True)

    made: CompositingResult
    drawn: int
    """Number of the pool's composites that a phase has drawn."""
    grown: int
    """Number of samples of the last dataset version that grew from a composite."""
    joined: int = 0
    """Number of composites that are themselves training samples of the last dataset version."""
