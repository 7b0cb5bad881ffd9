"""Assessment on images whose every difference is placed by hand."""

import math

import numpy as np
import pytest

from data_specs.assessment import QualityConfig
from models.metrics.psnr import psnr
from tasks.evaluation.success import assess, changed_region, mean_psnr, wilson_interval

SIDE = 64
OBJECT, SHADOW, FAR = np.s_[20:36, 10:22], np.s_[32:36, 22:40], np.s_[50:60, 44:60]
QUALITY = QualityConfig()


@pytest.fixture
def plate() -> np.ndarray:
    ramp = np.linspace(100, 150, SIDE).astype(np.uint8)
    return np.repeat(np.tile(ramp, (SIDE, 1))[..., None], 3, axis=2)


@pytest.fixture
def mask() -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[OBJECT] = True
    return mask


@pytest.fixture
def source(plate: np.ndarray) -> np.ndarray:
    image = plate.copy()
    image[OBJECT] = (220, 30, 30)
    image[SHADOW] -= 60
    return image


def test_the_truth_itself_is_a_success(source: np.ndarray, mask: np.ndarray, plate: np.ndarray) -> None:
    seen = assess(plate, source, mask, plate, QUALITY)
    assert (seen.success, seen.reason, seen.residual_px, seen.background_px) == (True, "", 0, 0)
    assert (seen.psnr_effect, seen.psnr_background) == (60, 60)


def test_what_is_left_is_named(source: np.ndarray, mask: np.ndarray, plate: np.ndarray) -> None:
    untouched = assess(source, source, mask, plate, QUALITY)
    assert (untouched.success, untouched.reason) == (False, "left-over")
    assert untouched.residual_px >= 16 * 12 + 3 * 18
    shadow = plate.copy()
    shadow[SHADOW] = source[SHADOW]
    left = assess(shadow, source, mask, plate, QUALITY)
    assert (left.success, left.reason) == (False, "effect left")
    assert 4 * 18 <= left.residual_px <= 6 * 20, "the blur widens the spot by a pixel at most"
    painted = plate.copy()
    painted[FAR] = 255
    seam = assess(painted, source, mask, plate, QUALITY)
    assert (seam.success, seam.reason, seam.residual_px) == (False, "seam", 0)
    assert 10 * 16 <= seam.background_px <= 12 * 18


def test_the_largest_connected_spot_decides(source: np.ndarray, mask: np.ndarray, plate: np.ndarray) -> None:
    """Three crumbs of 3×3 pass where the same pixels in one piece do not: 0.3 % of the image is 12.3 px."""
    crumbs, lump = plate.copy(), plate.copy()
    for row in (21, 27, 33):
        crumbs[row : row + 3, 14:17] += 50
    lump[24:33, 14:17] += 50
    scattered, joined = (assess(removal, source, mask, plate, QUALITY) for removal in (crumbs, lump))
    assert scattered.success
    assert 0 < scattered.residual_px < 12.3
    assert (joined.success, joined.reason) == (False, "left-over")
    assert joined.residual_px > 12.3
    assert joined.psnr_effect == pytest.approx(scattered.psnr_effect), "the error in sum is the same"


def test_texture_and_faint_differences_are_not_judged(
    source: np.ndarray, mask: np.ndarray, plate: np.ndarray
) -> None:
    checks = plate.astype(int) + 30 * ((np.indices((SIDE, SIDE)).sum(0) % 2) * 2 - 1)[..., None]
    faint = plate + np.uint8(23)
    for removal in (checks.astype(np.uint8), faint):
        assert assess(removal, source, mask, plate, QUALITY).success
    assert not assess(plate + np.uint8(25), source, mask, plate, QUALITY).success


def test_pixels_that_touch_by_a_corner_are_connected(
    source: np.ndarray, mask: np.ndarray, plate: np.ndarray
) -> None:
    sharp = QualityConfig(blur_fraction=0.004)
    for shift, success in ((3, False), (5, True)):
        removal = plate.copy()
        removal[22:25, 12:15] += 80
        removal[22 + shift : 25 + shift, 12 + shift : 15 + shift] += 80
        assert assess(removal, source, mask, plate, sharp).success == success


def test_one_channel_is_enough_to_be_seen(source: np.ndarray, mask: np.ndarray, plate: np.ndarray) -> None:
    tinted = plate.copy()
    tinted[OBJECT][..., 0] += 30
    assert assess(tinted, source, mask, plate, QUALITY).reason == "left-over"


def test_the_blur_scales_with_the_image(source: np.ndarray, mask: np.ndarray, plate: np.ndarray) -> None:
    large_source, large_mask, large_plate = (
        image.repeat(4, axis=0).repeat(4, axis=1) for image in (source, mask, plate)
    )
    checks = (np.indices(large_mask.shape) // 4).sum(0) % 2
    removal = (large_plate.astype(int) + 30 * (2 * checks - 1)[..., None]).astype(np.uint8)
    assert assess(removal, large_source, large_mask, large_plate, QUALITY).success


def test_the_thresholds_scale_with_the_image(source: np.ndarray, mask: np.ndarray, plate: np.ndarray) -> None:
    def grow(image: np.ndarray) -> np.ndarray:
        return image.repeat(3, axis=0).repeat(3, axis=1)

    for length in (2, 3, 8):
        removal = plate.copy()
        removal[24 : 24 + length, 14:17] += 50
        small = assess(removal, source, mask, plate, QUALITY)
        large = assess(grow(removal), grow(source), grow(mask), grow(plate), QUALITY)
        assert small.success == large.success
        rim = length + 3
        assert large.residual_px / 9 == pytest.approx(small.residual_px, abs=rim), "to half a pixel all round"


def test_the_changed_region_is_object_and_effect(
    source: np.ndarray, mask: np.ndarray, plate: np.ndarray
) -> None:
    expected = mask.copy()
    expected[SHADOW] = True
    np.testing.assert_array_equal(changed_region(source, mask, plate, QUALITY), expected)
    same_colored = np.zeros_like(mask)
    same_colored[0, 0] = True
    assert changed_region(plate, same_colored, plate, QUALITY).sum() == 1, "the mask counts even unchanged"


@pytest.mark.parametrize("step", [1, 5, 100])
def test_psnr_of_a_constant_step(plate: np.ndarray, step: int) -> None:
    everywhere = np.ones(plate.shape[:2], bool)
    assert psnr(plate + np.uint8(step), plate, everywhere) == pytest.approx(
        20 * math.log10(255 / step), abs=1e-4
    )
    half = everywhere.copy()
    half[:32] = False
    mixed = plate.copy()
    mixed[32:] += np.uint8(step)
    assert psnr(mixed, plate, ~half) == 60
    assert psnr(mixed, plate, half) == pytest.approx(20 * math.log10(255 / step), abs=1e-4)
    assert psnr(mixed, plate, np.zeros_like(half)) == 60


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [  # Newcombe 1998, table I, method 3; the last two are textbook cases.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (8, 10, 0.4902, 0.9433),
        (10, 10, 0.7225, 1.0),
    ],
)
def test_wilson_gives_the_published_intervals(successes: int, count: int, low: float, high: float) -> None:
    assert wilson_interval(successes, count) == pytest.approx((low, high), abs=5e-5)


def test_nothing_tried_may_be_any_rate() -> None:
    assert wilson_interval(0, 0) == (0, 1)


def test_mean_psnr_averages_each_kind(source: np.ndarray, mask: np.ndarray, plate: np.ndarray) -> None:
    one, other = assess(plate, source, mask, plate, QUALITY), assess(source, source, mask, plate, QUALITY)
    effect, background = mean_psnr([one, other])
    assert effect == pytest.approx((60 + other.psnr_effect) / 2)
    assert background == 60
