"""Train the tiny YOLO on synthetic solids and the people of the sample clip."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from models.images.tensors import levels_to_tensor
from models.perception.weights import FILE_NAME, weights_bytes
from models.perception.yolo import (
    FILL,
    YoloConfig,
    YoloDetector,
    build_yolo,
    class_notes,
)
from models.training.distributed import BatchSlice
from models.training.loop import Progress, TrainingConfig, train
from models.training.losses.perception import BoxBatch, settle_normalisation, yolo_loss
from models.training.samplers import MixedBatches
from tasks.storage.atomic_files import write_durably
from tasks.training.perception.boxes import blind_recall, box_score, placed
from tasks.training.perception.samples import CLASSES, SeenImage, clip_images, synthetic_image

YOLO_TRAINING = TrainingConfig(
    steps=3000,
    batch_size=16,
    learning_rate=2e-3,
    warmup_steps=100,
    ema_decay=0.99,
    gradient_clip=10,
    checkpoint_every=250,
)
_SYNTHETIC_IMAGES = 3000
_SYNTHETIC_FRACTION = 3
"""Synthetic images for each image of the clip in a batch."""
_SETTLING_BATCHES = 20


def train_yolo(
    training: TrainingConfig, folder: Path, checkpoint: Path | None = None, progress: Progress | None = None
) -> None:
    """Train on synthetic scenes and the clip's training blocks. Write the weights into ``folder``."""
    with torch.random.fork_rng():
        torch.manual_seed(training.seed)
        network = build_yolo("tiny", len(CLASSES))
    synthetic = [synthetic_image(index, "train") for index in range(_SYNTHETIC_IMAGES)]
    images = [*synthetic, *clip_images("train")]
    groups = [range(len(synthetic))] * _SYNTHETIC_FRACTION + [range(len(synthetic), len(images))]

    def batches(start: int, stop: int, parts: Sequence[slice]) -> Iterator[BoxBatch]:
        order = MixedBatches(groups, training.batch_size, training.seed, start, stop, parts)
        for number, draws in enumerate(order, start):
            rng = np.random.default_rng([training.seed, number])
            yield _collated([(images[place], flip) for place, flip in draws], rng)

    def loss_of(batch: BoxBatch, _: BatchSlice) -> torch.Tensor:
        return yolo_loss(network, batch)

    train(network, loss_of, batches, training, checkpoint, progress)
    settle_normalisation(network, [batch.squares for batch in batches(0, _SETTLING_BATCHES, [slice(None)])])
    write_durably(folder / FILE_NAME, weights_bytes(network, class_notes(CLASSES)))


def measure_yolo(folder: Path, scenes: int) -> dict[str, float]:
    """Boxes at IoU 0.5 on ``scenes`` unseen synthetic scenes, and on the clip's test block."""
    detector = YoloDetector(YoloConfig(weights=folder))
    figures: dict[str, float] = {}
    unseen = {
        "studio": [synthetic_image(index, "measure") for index in range(scenes)],
        "person": list(clip_images("measure")),
    }
    for of, images in unseen.items():
        found = {**box_score(detector, images)._asdict(), "blind_recall": blind_recall(images)}
        figures |= {f"{of} {figure}": value for figure, value in found.items()}
    return figures


def _collated(draws: list[tuple[SeenImage, bool]], rng: np.random.Generator) -> BoxBatch:
    side_px = YoloConfig().image_px
    squares, square_of, classes, boxes = [], [], [], []
    for number, (image, flip) in enumerate(draws):
        square, seen = placed(image, side_px, flip, FILL, rng)
        squares.append(square)
        for each, box in seen:
            square_of.append(number)
            classes.append(CLASSES.index(each.class_name))
            middle = ((box.left + box.right) / 2, (box.top + box.bottom) / 2)
            boxes.append([*middle, box.right - box.left, box.bottom - box.top])
    return BoxBatch(
        levels_to_tensor(squares) / 255,
        torch.tensor(square_of),
        torch.tensor(classes),
        torch.tensor(boxes).reshape(-1, 4) / side_px,
    )
