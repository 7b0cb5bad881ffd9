"""The changed region: exact shapes painted by hand, and the studio's exact effect."""

import cv2
import numpy as np
import pytest

from data_specs.arrays import RgbImage
from tasks.objectclear.pair_difference import DifferenceConfig, align_pair, changed_region
from tasks.sources.image_ops import mask_iou
from tasks.sources.synthetic.samples import SyntheticSample

CONFIG = DifferenceConfig()


def painted() -> tuple[RgbImage, RgbImage]:
    """A grey scene, and the same with a red square that casts a faint grey shadow to the right."""
    empty = np.full((160, 160, 3), 150, np.uint8)
    full = empty.copy()
    full[60:100, 40:80] = (200, 60, 60)
    full[80:100, 80:130] = 135
    return full, empty


def test_an_object_with_its_faint_shadow_is_one_region() -> None:
    full, empty = painted()
    truth = (full != empty).any(axis=2)
    region = changed_region(full, empty, CONFIG)
    assert mask_iou(region, truth) > 0.97


def test_a_faint_shadow_alone_is_no_certain_change() -> None:
    full, empty = painted()
    full[60:100, 40:80] = 150
    assert not changed_region(full, empty, CONFIG).any()
    assert changed_region(full, empty, DifferenceConfig(strong=0.02, weak=0.02)).any()


@pytest.mark.parametrize(("side", "seen"), [(8, False), (13, True)])
def test_crumbs_are_dropped_by_their_share_of_the_image(side: int, seen: bool) -> None:
    empty = np.full((200, 200, 3), 90, np.uint8)
    full = empty.copy()
    full[50 : 50 + side, 50 : 50 + side] = 220
    # 0.003 of 200×200 is 120 pixels: between 8² and 13².
    assert changed_region(full, empty, CONFIG).any() == seen


def test_a_hole_is_filled_if_it_is_small() -> None:
    empty = np.full((200, 200, 3), 90, np.uint8)
    full = empty.copy()
    full[50:150, 50:150] = 220
    full[70:76, 70:76] = 90
    full[100:120, 100:120] = 90
    region = changed_region(full, empty, CONFIG)
    # 0.0019 of 200×200 is 76 pixels: 6² is filled, 20² is seen through.
    assert region[70:76, 70:76].all()
    assert not region[102:118, 102:118].any()


def test_noise_raises_the_level_and_is_not_change() -> None:
    grain = np.random.default_rng(3)
    first, second = (np.rint(120 + grain.normal(0, 6, (160, 160, 3))).astype(np.uint8) for _ in range(2))
    assert not changed_region(first, second, CONFIG).any()
    deaf = DifferenceConfig(above_noise=0, weak=0.005, strong=0.01, min_area_fraction=0)
    assert changed_region(first, second, deaf).any()


def test_object_and_effect_of_the_studio_through_jpeg(shots: list[SyntheticSample]) -> None:
    agreed = []
    for shot in shots[:30]:
        aligned = align_pair(_through_jpeg(shot.source), _through_jpeg(shot.ground_truth))
        region = changed_region(aligned.source, aligned.ground_truth, CONFIG)
        agreed.append(mask_iou(region, shot.effect | (shot.matte > 0)))
    assert np.median(agreed) > 0.88


def _through_jpeg(image: RgbImage) -> RgbImage:
    data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.uint8)
