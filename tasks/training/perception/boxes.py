"""Scale and shift images with their boxes for training, and measure how many boxes a detector finds."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from data_specs.arrays import RgbImage
from data_specs.detection import Box, Detection
from models.protocols import Detector
from tasks.training.perception.samples import SeenImage, SeenObject

_MIN_SCALE = 0.6
_FOUND_IOU = 0.5
_BLIND_BOXES = 4


class BoxScore(NamedTuple):
    """What a detector finds at IoU 0.5. Each object and each detection is counted once."""

    objects: int
    recall: float
    """Fraction of objects found, under any name."""
    named_recall: float
    """Fraction of objects found under the right name."""
    precision: float
    """Fraction of detections that are an object, under any name."""


def box_score(detector: Detector, images: Iterable[SeenImage]) -> BoxScore:
    """Measure on some images with at least one object in total."""
    objects = matches = named = answers = 0
    for image in images:
        detections = detector.detect(image.source)
        pairs = matched(detections, image.objects)
        objects, answers, matches = (
            objects + len(image.objects),
            answers + len(detections),
            matches + len(pairs),
        )
        named += sum(one.class_name == other.class_name for one, other in pairs)
    return BoxScore(objects, matches / objects, named / objects, matches / max(1, answers))


def blind_recall(images: Sequence[SeenImage]) -> float:
    """Recall at IoU 0.5 of boxes that ignore the image: a grid of four by four of the images' mean box."""
    seen = [(seen_object.box, len(image.source)) for image in images for seen_object in image.objects]
    width = float(np.mean([(box.right - box.left) / side for box, side in seen]))
    height = float(np.mean([(box.bottom - box.top) / side for box, side in seen]))
    middles = [(column + 0.5) / _BLIND_BOXES for column in range(_BLIND_BOXES)]
    matches = 0
    for image in images:
        side = len(image.source)
        laid = [
            Box(
                (x - width / 2) * side,
                (y - height / 2) * side,
                (x + width / 2) * side,
                (y + height / 2) * side,
            )
            for x in middles
            for y in middles
        ]
        matches += len(matched([Detection(box, "", 0.0) for box in laid], image.objects))
    return matches / len(seen)


def matched(
    detections: Iterable[Detection], objects: Iterable[SeenObject]
) -> list[tuple[Detection, SeenObject]]:
    """Pairs at IoU 0.5 or more: each detection, most certain first, takes the free object it covers best."""
    free, pairs = list(objects), []
    for detection in detections:
        best = max(free, key=lambda candidate: box_iou(detection.box, candidate.box), default=None)
        if best is not None and box_iou(detection.box, best.box) >= _FOUND_IOU:
            pairs.append((detection, best))
            free.remove(best)
    return pairs


def box_iou(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    across = min(one.right, other.right) - max(one.left, other.left)
    down = min(one.bottom, other.bottom) - max(one.top, other.top)
    shared = max(0.0, across) * max(0.0, down)
    areas = ((box.right - box.left) * (box.bottom - box.top) for box in (one, other))
    return shared / (sum(areas) - shared)


def placed(
    image: SeenImage, side_px: int, flip: bool, fill: tuple[int, int, int], rng: np.random.Generator
) -> tuple[RgbImage, list[tuple[SeenObject, Box]]]:
    """A square image scaled to 0.6 to 1 of ``side_px``, placed at random in a square of that side.

    Returns:
        The square, S×S×3 uint8, up to a fifth brighter or darker, and each object with its box in it.
    """
    scaled = round(side_px * float(rng.uniform(_MIN_SCALE, 1)))
    left, top = (int(rng.integers(0, side_px - scaled + 1)) for _ in range(2))
    source = image.source[:, ::-1] if flip else image.source
    how = cv2.INTER_AREA if scaled < len(source) else cv2.INTER_LINEAR
    shown = cv2.resize(np.ascontiguousarray(source), (scaled, scaled), interpolation=how)
    square = np.full((side_px, side_px, 3), fill, np.uint8)
    gain = float(rng.uniform(0.8, 1.2))
    square[top : top + scaled, left : left + scaled] = np.clip(shown * gain, 0, 255)
    scale, width = scaled / len(source), len(source)
    boxes: list[tuple[SeenObject, Box]] = []
    for seen_object in image.objects:
        box = seen_object.box
        start, stop = (width - box.right, width - box.left) if flip else (box.left, box.right)
        moved = Box(
            left + start * scale, top + box.top * scale, left + stop * scale, top + box.bottom * scale
        )
        boxes.append((seen_object, moved))
    return square, boxes
