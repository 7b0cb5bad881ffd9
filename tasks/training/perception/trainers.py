"""List perception's trainers, one row each. The command, the model cards and the measuring follow from it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from models.training.loop import Progress, TrainingConfig
from tasks.training.perception.depth_anything import (
    DEPTH_ANYTHING_TRAINING,
    measure_depth_anything,
    train_depth_anything,
)
from tasks.training.perception.grounding_dino import (
    GROUNDING_DINO_TRAINING,
    measure_grounding_dino,
    train_grounding_dino,
)
from tasks.training.perception.mask2former import (
    MASK2FORMER_TRAINING,
    measure_mask2former,
    train_mask2former,
)
from tasks.training.perception.sam import SAM_TRAINING, measure_sam, train_sam
from tasks.training.perception.yolo import YOLO_TRAINING, measure_yolo, train_yolo


@dataclass(frozen=True, slots=True)
class Trainer:
    """How one tiny model is trained and measured."""

    name: str
    """Its name for ``--only``, and its folder under ``models/weights/perception``."""
    learns: str
    """What it learns, and from what, for its model card."""
    training: TrainingConfig
    """The config that made the shipped weights."""
    train: Callable[[TrainingConfig, Path, Path | None, Progress | None], None]
    """Called with (config, folder, checkpoint, progress). Trains, and writes all files into the folder."""
    measure: Callable[[Path, int], dict[str, float]]
    """Called with (folder, number of unseen synthetic scenes). Returns figures by name, with baselines."""


TRAINERS: tuple[Trainer, ...] = (
    Trainer(
        "sam",
        "masks from boxes and points: studio solids, and the people of the sample clip's training blocks",
        SAM_TRAINING,
        train_sam,
        measure_sam,
    ),
    Trainer(
        "yolo",
        "boxes of sphere, box, cylinder, cone and person: the studio, and the sample clip's training blocks",
        YOLO_TRAINING,
        train_yolo,
        measure_yolo,
    ),
    Trainer(
        "mask2former",
        "ground, wall, sky and object: studio scenes, two in three with solids, in varied light and crops",
        MASK2FORMER_TRAINING,
        train_mask2former,
        measure_mask2former,
    ),
    Trainer(
        "depth_anything",
        "inverse depth in 1/m along the view axis: the same studio scenes",
        DEPTH_ANYTHING_TRAINING,
        train_depth_anything,
        measure_depth_anything,
    ),
    Trainer(
        "grounding_dino",
        "boxes of what it is asked for: solids by shape, colour and both, and persons, in the studio and the "
        "clip's training blocks; it begins with the eyes of the shipped mask2former",
        GROUNDING_DINO_TRAINING,
        train_grounding_dino,
        measure_grounding_dino,
    ),
)
