"""Telea's fill where the answer is known."""

import numpy as np
import pytest

from models.baselines.telea import TeleaFill


@pytest.mark.parametrize(("colour", "tolerance"), [((128, 128, 128), 0), ((200, 90, 30), 2)])
def test_a_plain_ground_is_restored(boxes, colour: tuple[int, int, int], tolerance: int) -> None:
    """A grey one exactly; on colours cv2's own rounding adds up to two levels."""
    plain = np.full((32, 32, 3), colour, np.uint8)
    mask = boxes(1)[0]
    source = np.where(mask[..., None], np.uint8(0), plain)
    (removal,) = TeleaFill().remove([source], [mask], [0])
    assert np.abs(removal.astype(int) - plain).max() <= tolerance


def test_outside_the_mask_nothing_changes(images, boxes) -> None:
    image, mask = images(1, 4)[0], boxes(1)[0]
    (filled,) = TeleaFill().remove([image], [mask], [1])
    assert filled.dtype == np.uint8
    assert np.array_equal(filled[~mask], image[~mask])
    assert not np.array_equal(filled[mask], image[mask])


def test_its_name_tells_its_radius() -> None:
    assert TeleaFill(3).model_hash != TeleaFill(5).model_hash
