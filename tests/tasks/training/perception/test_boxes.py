"""Samples and box figures against plain geometry."""

import numpy as np

from data_specs.detection import Box, Detection
from tasks.sources.image_ops import mask_iou
from tasks.training.perception.boxes import box_iou, matched, placed
from tasks.training.perception.sam import filled_box, filled_ellipse
from tasks.training.perception.samples import SeenImage, SeenObject, synthetic_image


def test_the_studios_boxes_touch_their_masks_and_masks_are_apart() -> None:
    for index in range(6):
        image = synthetic_image(index, "train")
        shown = np.zeros(image.source.shape[:2], int)
        for each in image.objects:
            rows, columns = np.nonzero(each.mask)
            edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert (each.box.left, each.box.top, each.box.right, each.box.bottom) == edges
            shown += each.mask
        # A pixel that shows two objects half each is both's, at their common edge only.
        assert (shown > 1).mean() < 0.005


def test_iou_and_the_baselines_areas() -> None:
    assert box_iou(Box(0, 0, 2, 2), Box(1, 1, 3, 3)) == 1 / 7
    assert box_iou(Box(0, 0, 1, 1), Box(5, 5, 6, 6)) == 0
    box, shape = Box(4, 10, 104, 70), (128, 128)
    assert filled_box(box, shape).sum() == 6000
    assert abs(filled_ellipse(box, shape).sum() / (np.pi * 50 * 30) - 1) < 0.002
    assert abs(mask_iou(filled_box(box, shape), filled_ellipse(box, shape)) - np.pi / 4) < 0.002


def test_an_object_is_found_once() -> None:
    mask = np.ones((4, 4), bool)
    objects = [SeenObject("box", None, mask, Box(0, 0, 4, 4))]
    twice = [Detection(Box(0, 0, 4, 4), "box", 0.9), Detection(Box(0, 0, 4, 3.9), "box", 0.8)]
    assert len(matched(twice, objects)) == 1
    assert matched([Detection(Box(0, 0, 4, 1.9), "box", 0.9)], objects) == []


def test_placed_boxes_hold_what_was_placed() -> None:
    """A white block on black, scaled, moved, perhaps mirrored: its new box is where the square is white."""
    source = np.zeros((64, 64, 3), np.uint8)
    source[10:40, 8:20] = 255
    seen = SeenObject("box", None, source[..., 0] > 0, Box(8, 10, 20, 40))
    for number in range(6):
        rng = np.random.default_rng(number)
        square, ((_, box),) = placed(SeenImage(source, (seen,)), 128, number % 2 == 1, (0, 0, 0), rng)
        rows, columns = np.nonzero(square[..., 0] > 100)
        edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        np.testing.assert_allclose((box.left, box.top, box.right, box.bottom), edges, atol=1.5)
