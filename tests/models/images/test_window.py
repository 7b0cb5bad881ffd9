"""Windows of every shape, and changes whose way back is known exactly."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_specs.arrays import Mask, RgbImage
from models.images.window import (
    SIDE_MULTIPLE_PX,
    WorkWindow,
    bring_back,
    choose_window,
    show_image,
    show_mask,
    whole_image,
)


def texture(height: int, width: int, seed: int = 0) -> RgbImage:
    """Grain as sharp as a pixel, within 60..200: nothing clips when 40 is taken away."""
    return np.random.default_rng(seed).integers(60, 201, (height, width, 3), np.uint8)


def boxed(height: int, width: int, top: int, left: int, tall: int, broad: int) -> Mask:
    mask = np.zeros((height, width), bool)
    mask[top : top + tall, left : left + broad] = True
    return mask


@settings(max_examples=200, deadline=None)
@given(data=st.data(), height=st.integers(16, 4200), width=st.integers(16, 4200))
def test_a_window_holds_the_object_and_lies_within_the_image(data, height: int, width: int) -> None:
    top = data.draw(st.integers(0, height - 1))
    left = data.draw(st.integers(0, width - 1))
    tall = data.draw(st.integers(1, height - top))
    broad = data.draw(st.integers(1, width - left))
    for short_side in (64, 512):
        window = choose_window(boxed(height, width, top, left, tall, broad), short_side)
        assert 0 <= window.top <= top
        assert 0 <= window.left <= left
        assert top + tall <= window.top + window.height <= height
        assert left + broad <= window.left + window.width <= width
        assert window.work_height % SIDE_MULTIPLE_PX == 0 == window.work_width % SIDE_MULTIPLE_PX
        # Each side is rounded to the nearest multiple, the least is 16.
        lesser = min(window.work_height, window.work_width)
        assert lesser == 16 or (window.work_height - 8) * (window.work_width - 8) <= 4 * short_side**2
        # Shapes are kept but for the rounding of each side.
        scales = (window.work_height / window.height, window.work_width / window.width)
        slack = 8 / min(window.height * scales[0], window.width * scales[1])
        assert max(scales) / min(scales) <= (1 + slack) / max(1 - slack, 0.3)


@pytest.mark.parametrize(
    ("size", "object_box", "expected"),
    [
        ((512, 512), (200, 200, 60, 60), WorkWindow(0, 0, 512, 512, 512, 512)),
        ((600, 630), (200, 200, 60, 60), WorkWindow(0, 0, 600, 630, 512, 544)),
        ((3000, 4000), (1000, 3900, 80, 60), WorkWindow(784, 3488, 512, 512, 512, 512)),
        ((3000, 4000), (1000, 2000, 800, 400), WorkWindow(400, 1200, 2000, 2000, 512, 512)),
        ((3000, 4000), (500, 500, 2000, 2500), WorkWindow(0, 0, 3000, 4000, 512, 688)),
        ((500, 4000), (200, 100, 100, 100), WorkWindow(0, 0, 500, 512, 512, 528)),
    ],
    ids=["as large", "hardly larger", "small, at the edge", "neighbourhood", "whole", "panorama"],
)
def test_windows_of_stated_images(size, object_box, expected: WorkWindow) -> None:
    assert choose_window(boxed(*size, *object_box), 512) == expected


def test_an_effect_comes_back_without_the_images_own_detail_suffering() -> None:
    """A shadow of 40 levels on grain: the network, at a quarter of the size, sees it go; the grain stays."""
    ground_truth = texture(256, 384)
    shadow = boxed(256, 384, 80, 120, 80, 120)
    source = ground_truth - (40 * shadow[..., None]).astype(np.uint8)
    window = WorkWindow(32, 64, 192, 256, 48, 64)
    seen = show_image(source, window).astype(np.float32)
    change = 40.0 * show_mask(shadow, window)[..., None].repeat(3, 2).astype(np.float32)
    removal = bring_back(source, boxed(256, 384, 0, 0, 1, 1), change, window)
    # Exact but in the 2 px on either side of the edge over which the enlarged change ramps.
    edge = cv2.dilate(shadow.astype(np.uint8), np.ones((5, 5))) != cv2.erode(
        shadow.astype(np.uint8), np.ones((5, 5))
    )
    np.testing.assert_array_equal(removal[~edge], ground_truth[~edge])
    assert np.abs(removal[edge].astype(int) - ground_truth[edge]).max() <= 36
    assert seen.std() < ground_truth.std(), "the network saw no such grain"


def test_the_objects_own_detail_goes_with_it() -> None:
    """A grainy object on an even ground: what comes back is the network's even ground, not its grain."""
    mask = boxed(128, 128, 48, 48, 32, 32)
    source = np.where(mask[..., None], texture(128, 128, 3), np.uint8(90))
    window = whole_image(128, 128, 32, 32)
    change = 90.0 - show_image(source, window).astype(np.float32)
    np.testing.assert_allclose(bring_back(source, mask, change, window), 90, atol=1)


@pytest.mark.parametrize(
    "window",
    [
        WorkWindow(8, 16, 64, 96, 64, 96),
        WorkWindow(8, 16, 100, 120, 32, 48),
        WorkWindow(40, 40, 40, 60, 64, 96),
    ],
    ids=["as it is", "reduced", "enlarged"],
)
def test_where_nothing_changes_the_source_stays_to_the_bit(window: WorkWindow) -> None:
    source = texture(128, 144, 4)
    mask = boxed(128, 144, 50, 60, 20, 24)
    change = np.zeros((window.work_height, window.work_width, 3), np.float32)
    np.testing.assert_array_equal(bring_back(source, mask, change, window), source)
    shown = show_mask(mask, window)
    change[shown] = 25
    removal = bring_back(source, mask, change, window)
    # A work pixel is at most 4 px here; linear weights reach one further.
    near = cv2.dilate(mask.astype(np.uint8), np.ones((17, 17))) > 0
    np.testing.assert_array_equal(removal[~near], source[~near])
    assert (removal[mask] != source[mask]).mean() > 0.9


def test_at_its_own_size_the_change_is_added_as_it_is() -> None:
    source = texture(64, 64, 5)
    change = np.random.default_rng(6).integers(-30, 30, (64, 64, 3)).astype(np.float32)
    removal = bring_back(source, boxed(64, 64, 9, 9, 5, 5), change, whole_image(64, 64, 64, 64))
    np.testing.assert_array_equal(removal, (source + change).astype(np.uint8))


def test_one_masked_pixel_of_a_large_image_is_not_lost() -> None:
    mask = boxed(2000, 3000, 777, 1234, 1, 1)
    shown = show_mask(mask, whole_image(2000, 3000, 64, 96))
    assert np.argwhere(shown).tolist() == [[777 * 64 // 2000, 1234 * 96 // 3000]]
