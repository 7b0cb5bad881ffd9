"""Train the tiny SAM on squares around slightly wrong boxes, with and without points on the object."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from data_specs.arrays import Mask
from data_specs.detection import Box
from models.images.tensors import levels_to_tensor, masks_to_tensor
from models.perception.geometry import view_square
from models.perception.sam import (
    FILL,
    SIZES,
    SamConfig,
    SamSegmenter,
    build_sam,
    prompt_in_view,
    prompts_of,
)
from models.perception.weights import FILE_NAME, weights_bytes
from models.protocols import Segmenter
from models.training.distributed import BatchSlice
from models.training.loop import Progress, TrainingConfig, train
from models.training.losses.perception import PromptedBatch, sam_loss
from models.training.samplers import MixedBatches
from tasks.sources.image_ops import mask_iou
from tasks.storage.atomic_files import write_durably
from tasks.training.perception.samples import SeenImage, SeenObject, clip_images, synthetic_image

SAM_TRAINING = TrainingConfig(
    steps=1500, batch_size=16, learning_rate=1e-3, warmup_steps=100, ema_decay=0.995, checkpoint_every=250
)
_SYNTHETIC_IMAGES = 2000
_SYNTHETIC_FRACTION = 3
"""Synthetic objects for each person in a batch."""
_BOX_ERROR = 0.08
"""The largest error of each edge of a training box, as a fraction of the box's longer side."""
_MAX_POINTS = 2
_SIZES = SIZES["tiny"]
_ZOOM = _SIZES.zoom or 1.0

ReviewRequest = tuple[SeenImage, SeenObject]


class MaskScore(NamedTuple):
    """Mean IoU with the true masks, from exact boxes: of SAM, and of two shapes that ignore the image."""

    objects: int
    iou: float
    box_iou: float
    """IoU of the whole box."""
    ellipse_iou: float
    """IoU of the ellipse inside the box."""


def train_sam(
    training: TrainingConfig, folder: Path, checkpoint: Path | None = None, progress: Progress | None = None
) -> None:
    """Train on synthetic scenes and the clip's training blocks. Write the weights into ``folder``."""
    with torch.random.fork_rng():
        torch.manual_seed(training.seed)
        sam = build_sam(_SIZES)
    synthetic = _asked(synthetic_image(index, "train") for index in range(_SYNTHETIC_IMAGES))
    people = _asked(clip_images("train"))
    objects = [*synthetic, *people]
    groups = [range(len(synthetic))] * _SYNTHETIC_FRACTION + [range(len(synthetic), len(objects))]

    def batches(start: int, stop: int, parts: Sequence[slice]) -> Iterator[PromptedBatch]:
        order = MixedBatches(groups, training.batch_size, training.seed, start, stop, parts)
        for number, draws in enumerate(order, start):
            rng = np.random.default_rng([training.seed, number])
            yield _collated([(*objects[place], flip) for place, flip in draws], rng)

    def loss_of(batch: PromptedBatch, _: BatchSlice) -> torch.Tensor:
        return sam_loss(sam, batch)

    train(sam, loss_of, batches, training, checkpoint, progress)
    write_durably(folder / FILE_NAME, weights_bytes(sam))


def measure_sam(folder: Path, scenes: int) -> dict[str, float]:
    """Mean mask IoU on ``scenes`` unseen synthetic scenes and on the clip's test block, with baselines."""
    segmenter = SamSegmenter(SamConfig(weights=folder))
    synthetic = mask_score(segmenter, (synthetic_image(index, "measure") for index in range(scenes)))
    people = mask_score(segmenter, clip_images("measure"))
    named = {"studio": synthetic, "person": people}
    return {
        f"{of} {figure}": value for of, score in named.items() for figure, value in score._asdict().items()
    }


def mask_score(segmenter: Segmenter, images: Iterable[SeenImage]) -> MaskScore:
    """Measure every object of some images, at least one."""
    found: list[list[float]] = []
    for image in images:
        boxes = [each.box for each in image.objects]
        masks = segmenter.segment(image.source, boxes)
        for each, mask in zip(image.objects, masks, strict=True):
            ellipse = filled_ellipse(each.box, mask.shape)
            drawn = (mask, filled_box(each.box, mask.shape), ellipse)
            found.append([mask_iou(one, each.mask) for one in drawn])
    return MaskScore(len(found), *(float(mean) for mean in np.mean(found, axis=0)))


def filled_box(box: Box, shape: tuple[int, ...]) -> Mask:
    """H×W bool: the box's pixels."""
    mask = np.zeros(shape, bool)
    mask[round(box.top) : round(box.bottom), round(box.left) : round(box.right)] = True
    return mask


def filled_ellipse(box: Box, shape: tuple[int, ...]) -> Mask:
    """H×W bool: the pixels whose centre lies in the ellipse inside the box."""
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    across = (2 * columns - box.left - box.right) / (box.right - box.left)
    down = (2 * rows - box.top - box.bottom) / (box.bottom - box.top)
    return across**2 + down**2 <= 1


def _asked(images: Iterable[SeenImage]) -> list[ReviewRequest]:
    return [(image, each) for image in images for each in image.objects]


def _collated(draws: Sequence[tuple[SeenImage, SeenObject, bool]], rng: np.random.Generator) -> PromptedBatch:
    """Each object in its own view: box, zoom and points as a detector and a person might give them."""
    side_px, squares, masks, asked = _SIZES.image_px, [], [], []
    for image, seen, flip in draws:
        box = _off(seen.box, rng)
        view = view_square(box, _ZOOM * float(rng.uniform(0.8, 1.25)))
        step = -1 if flip else 1
        squares.append(view.cut(image.source, side_px, FILL)[:, ::step])
        shown = view.cut(seen.mask[..., None].astype(np.uint8) * np.uint8(255), side_px, (0,))
        masks.append(shown[:, ::step] > 127)
        edges, points = prompt_in_view(view, side_px, box, _points_on(seen.mask, rng))
        asked.append(_mirrored(edges, points, side_px) if flip else (edges, points))
    return PromptedBatch(levels_to_tensor(squares), masks_to_tensor(masks), prompts_of(asked))


def _off(box: Box, rng: np.random.Generator) -> Box:
    reach = _BOX_ERROR * max(box.right - box.left, box.bottom - box.top)
    left, top, right, bottom = rng.uniform(-reach, reach, 4)
    return Box(
        min(box.left + left, box.right - 1),
        min(box.top + top, box.bottom - 1),
        box.right + right,
        box.bottom + bottom,
    )


def _points_on(mask: Mask, rng: np.random.Generator) -> list[tuple[float, float]]:
    """The centres of zero, one or two pixels on the object."""
    rows, columns = np.nonzero(mask)
    places = rng.integers(0, len(rows), int(rng.integers(0, _MAX_POINTS + 1)))
    return [(float(columns[place]) + 0.5, float(rows[place]) + 0.5) for place in places]


def _mirrored(
    edges: NDArray[np.float64], points: NDArray[np.float64], side_px: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    left, top, right, bottom = edges
    mirrored = np.stack([side_px - points[:, 0], points[:, 1]], axis=1)
    return np.array([side_px - right, top, side_px - left, bottom]), mirrored
