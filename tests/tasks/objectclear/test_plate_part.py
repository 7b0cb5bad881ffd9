"""Which images can be plates."""

import cv2
import numpy as np
import pytest

from data_specs.plate import Plate
from data_specs.reject import Reject, RejectReason
from tasks.objectclear.blend import ToneConfig, colour_gains, grain_window, tone_of
from tasks.objectclear.plate import PlateConfig, make_plate
from tasks.sources.image_files import RejectedImage, read_image


def made(image: np.ndarray, ground: np.ndarray, depth: np.ndarray) -> Plate | Reject:
    return make_plate(
        PlateConfig(),
        scene="s",
        split="train",
        origin="hand",
        image=image,
        ground=ground,
        depth=depth,
        focal_px=100.0,
    )


def parts(height: int = 80, width: int = 100) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ground = np.zeros((height, width), bool)
    ground[height // 2 :] = True
    depth = 100 / np.maximum(np.arange(height, dtype=np.float32) - height / 4, 1)
    return (
        np.full((height, width, 3), 90, np.uint8),
        ground,
        np.repeat(depth[:, None], width, axis=1).astype(np.float32),
    )


def test_a_plate_keeps_ground_depth_and_horizon() -> None:
    plate = made(*parts())
    assert isinstance(plate, Plate)
    assert plate.horizon == pytest.approx(20, abs=0.01)
    assert plate.ground.sum() == 40 * 100
    again = made(*parts())
    assert isinstance(again, Plate)
    assert again.key == plate.key


def test_refusals_say_why() -> None:
    image, ground, depth = parts()
    cases = [
        (made(image, np.zeros_like(ground), depth), RejectReason.NO_GROUND),
        (made(image, ground, np.full_like(depth, np.inf)), RejectReason.NO_SCALE),
        (made(image, ground, np.full_like(depth, np.nan)), RejectReason.NO_SCALE),
        (made(image, ground[:40], depth), RejectReason.SIZE_MISMATCH),
        (made(*parts(20, 20)), RejectReason.TOO_SMALL),
        (made(*parts(1, 1)), RejectReason.TOO_SMALL),
    ]
    for refused, reason in cases:
        assert isinstance(refused, Reject)
        assert (refused.reason, refused.source, refused.name) == (reason, "plate", "hand")


def test_ground_of_unknown_depth_is_no_ground() -> None:
    image, ground, depth = parts()
    depth[60:, :50] = 0
    plate = made(image, ground, depth)
    assert isinstance(plate, Plate)
    assert not plate.ground[60:, :50].any()
    assert plate.ground[40:60].all()


def test_grey_images_are_plates_and_transparent_ones_are_refused(tmp_path) -> None:
    image, ground, depth = parts()
    cv2.imwrite(str(tmp_path / "grey.png"), image[..., 0])
    assert isinstance(made(read_image(tmp_path / "grey.png"), ground, depth), Plate)
    clear = np.dstack([image, np.full(ground.shape, 255, np.uint8)])
    cv2.imwrite(str(tmp_path / "opaque.png"), clear)
    assert isinstance(made(read_image(tmp_path / "opaque.png"), ground, depth), Plate)
    clear[0, 0, 3] = 0
    cv2.imwrite(str(tmp_path / "clear.png"), clear)
    with pytest.raises(RejectedImage, match="transparent"):
        read_image(tmp_path / "clear.png")


@pytest.mark.parametrize("sigma", [2.0, 5.0])
def test_grain_is_told_from_noise_of_known_strength(sigma: float) -> None:
    slope = np.repeat(np.linspace(60, 180, 256)[None, :], 256, axis=0)
    noise = np.random.default_rng(1).normal(0, sigma, slope.shape)
    grey = np.rint(slope + noise).astype(np.uint8)
    tone = tone_of(np.dstack([grey] * 3))
    assert tone.grain == pytest.approx(sigma, rel=0.08)
    assert tone.mean_rgb == pytest.approx([grey.mean()] * 3, abs=0.01)


def test_gains_make_up_part_of_the_difference_within_the_limit() -> None:
    dark, pale = tone_of(np.full((8, 8, 3), 49, np.uint8)), tone_of(np.full((8, 8, 3), 199, np.uint8))
    half = ToneConfig(colour_strength=0.5, colour_limit=3)
    assert colour_gains(dark, pale, half) == pytest.approx([2, 2, 2])
    assert colour_gains(pale, dark, half) == pytest.approx([0.5] * 3)
    assert colour_gains(dark, pale, ToneConfig(colour_strength=0.5, colour_limit=1.2)) == pytest.approx(
        [1.2] * 3
    )
    assert colour_gains(dark, dark, half) == (1, 1, 1)


def test_grain_has_the_strength_asked_for_at_any_size() -> None:
    rng = np.random.default_rng(0)
    assert grain_window(rng, (300, 1500), 4.0).shape == (300, 1500)
    assert grain_window(rng, (300, 300), 4.0).std() == pytest.approx(4, rel=0.03)
