"""Pairs of plain images become captured pairs: masks against the studio's, and every way to be refused."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from data_specs.arrays import Mask, RgbImage
from data_specs.captured_pair import CapturedPair, ImagePair
from data_specs.cutout import Cutout
from data_specs.detection import Box, Detection
from data_specs.reject import Reject, RejectReason
from tasks.objectclear.cutout import cut_out
from tasks.objectclear.ground import FlatGroundConfig
from tasks.objectclear.object_mask import CaptureConfig, capture_pair
from tasks.objectclear.perception import Perception
from tasks.sources.image_ops import mask_iou
from tasks.sources.synthetic.samples import SyntheticSample, as_captured_pair
from tests.tasks.objectclear.exact_perception import ExactPerception, as_images, exact

CONFIG, FLATNESS = CaptureConfig(), FlatGroundConfig()


@pytest.fixture(scope="module")
def truths(shots: list[SyntheticSample]) -> list[CapturedPair]:
    return [as_captured_pair(shot, "train") for shot in shots[:30]]


def worn(image: RgbImage, seed: int, gain: float = 1.0) -> RgbImage:
    """As another exposure through a camera's noise and JPEG gives it."""
    lit = np.clip(image * gain + np.random.default_rng(seed).normal(0, 1, image.shape), 0, 255)
    data = cv2.imencode(".jpg", np.rint(lit[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.uint8)


def foreground(pair: CapturedPair) -> np.ndarray:
    return pair.effect | (pair.matte > 0)


def captured(images: ImagePair, truth: CapturedPair, column: int = 0) -> CapturedPair:
    pair = capture_pair(images, exact(truth, offset=(0, column)), CONFIG, FLATNESS)
    assert isinstance(pair, CapturedPair), pair
    return pair


def test_masks_of_clean_pairs_are_the_studios(truths: list[CapturedPair]) -> None:
    objects, foregrounds = [], []
    for truth in truths:
        pair = captured(as_images(truth), truth)
        assert not (pair.effect & (pair.matte > 0)).any()
        assert not (pair.ground & (pair.matte > 0)).any()
        objects.append(mask_iou(pair.matte >= 128, truth.matte >= 128))
        foregrounds.append(mask_iou(foreground(pair), foreground(truth)))
    assert np.median(objects) > 0.9
    assert np.median(foregrounds) > 0.95
    assert min(foregrounds) > 0.7


def test_masks_hold_through_exposure_shift_and_jpeg(truths: list[CapturedPair]) -> None:
    """The ground truth lies one column to the left, so the pair begins at the source's column 0 or 1."""
    foregrounds = []
    for number, truth in enumerate(truths[:20]):
        images = as_images(truth)
        source = worn(images.source[:, 1:], number)
        ground_truth = worn(images.ground_truth[:, :-1], 50 + number, gain=0.92)
        shaken = replace(images, source=source, ground_truth=ground_truth)
        pair = captured(shaken, truth, column=1)
        shown = foreground(truth)[:, 1 : 1 + pair.source.shape[1]][: len(pair.source)]
        foregrounds.append(mask_iou(foreground(pair), shown))
    assert np.median(foregrounds) > 0.85


def test_cut_outs_of_seen_pairs_are_those_of_known_ones(truths: list[CapturedPair]) -> None:
    alike = []
    for truth in truths:
        known, seen = cut_out(truth), cut_out(captured(as_images(truth), truth))
        if isinstance(known, Cutout) and isinstance(seen, Cutout):
            alike.append(seen.shadow_class == known.shadow_class)
            assert seen.foot_depth == pytest.approx(known.foot_depth, rel=0.1)
    assert len(alike) >= 15
    assert np.mean(alike) > 0.75


def refusal(pair: ImagePair, truth: CapturedPair) -> Reject:
    made = capture_pair(pair, exact(truth), CONFIG, FLATNESS)
    assert isinstance(made, Reject)
    assert (made.source, made.name) == ("capture pair", pair.origin)
    return made


def test_each_fault_has_its_reason(truths: list[CapturedPair]) -> None:
    truth = truths[0]
    pair = as_images(truth)
    uneven = refusal(replace(pair, source=pair.source[:-1]), truth)
    assert uneven.reason is RejectReason.SIZE_MISMATCH
    assert uneven.detail == "source 128×127, ground truth 128×128"
    small = replace(pair, source=pair.source[:40], ground_truth=pair.ground_truth[:40])
    assert refusal(small, truth).reason is RejectReason.TOO_SMALL
    assert refusal(replace(pair, source=pair.ground_truth), truth).reason is RejectReason.NO_CHANGE


def with_squares(image: RgbImage, corners: list[tuple[int, int]], side: int) -> RgbImage:
    changed = image.copy()
    for row, column in corners:
        changed[row : row + side, column : column + side] ^= 128
    return changed


def test_a_change_that_is_no_object_is_not_explained(truths: list[CapturedPair]) -> None:
    """The detector is right about where the object is, and it is not what changed."""
    refused = 0
    for truth in truths[:10]:
        pair = as_images(truth)
        if truth.matte[4:34, 4:34].any():
            continue
        elsewhere = replace(pair, source=with_squares(pair.ground_truth, [(4, 4)], 30))
        assert refusal(elsewhere, truth).reason is RejectReason.UNEXPLAINED
        refused += 1
    assert refused >= 5


def test_many_changes_are_not_one_object(truths: list[CapturedPair]) -> None:
    pair = as_images(truths[0])
    corners = [(row, column) for row in (10, 50, 90) for column in (10, 60)]
    spotted = replace(pair, source=with_squares(pair.ground_truth, corners, 14))
    made = refusal(spotted, truths[0])
    assert (made.reason, made.detail) == (RejectReason.MANY_CHANGES, "6 regions")


class SeesBoxes(ExactPerception):
    """A detector that names these boxes, and a segmenter that fills them."""

    def __init__(self, truth: CapturedPair, boxes: list[Box]) -> None:
        super().__init__(truth)
        self._boxes = boxes

    def detect(self, source: RgbImage) -> list[Detection]:
        return [Detection(box, "person", 0.9) for box in self._boxes]

    def segment(self, source, boxes, points=()) -> list[Mask]:
        masks = [np.zeros(source.shape[:2], bool) for _ in boxes]
        for mask, box in zip(masks, boxes, strict=True):
            mask[int(box.top) : int(box.bottom), int(box.left) : int(box.right)] = True
        return masks


def test_another_object_beside_it_is_not_its_effect(truths: list[CapturedPair]) -> None:
    """Two that touch changed: where the detector knows of one alone, the other is taken for its effect."""
    pair = as_images(truths[0])
    both = replace(pair, source=with_squares(pair.ground_truth, [(40, 40), (40, 64)], 24))
    one, other = Box(40, 40, 64, 64), Box(64, 40, 88, 64)
    knows = SeesBoxes(truths[0], [one, other])
    made = capture_pair(both, Perception(knows, knows, knows, knows), CONFIG, FLATNESS)
    assert isinstance(made, Reject)
    assert (made.reason, made.detail) == (RejectReason.MANY_CHANGES, "1 other objects changed with it")
    knows = SeesBoxes(truths[0], [one])
    made = capture_pair(both, Perception(knows, knows, knows, knows), CONFIG, FLATNESS)
    assert isinstance(made, CapturedPair)


@pytest.mark.parametrize("gain", [1.0, 0.9])
def test_a_camera_that_moved_too_far_is_told_by_how_much(truths: list[CapturedPair], gain: float) -> None:
    grain = np.random.default_rng(8).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    scene = cv2.resize(grain, (144, 144), interpolation=cv2.INTER_CUBIC)
    source = np.asarray(scene[8:136, 8:136], np.uint8)
    ground_truth = np.rint(scene[8:136, 2:130] * gain).astype(np.uint8)
    pair = replace(as_images(truths[0]), source=source, ground_truth=ground_truth)
    made = refusal(pair, truths[0])
    assert made.reason is RejectReason.CAMERA_MOVED
    assert float(made.detail.split()[1]) == pytest.approx(6, abs=0.2)


def test_another_scene_is_seldom_taken_for_the_same(truths: list[CapturedPair]) -> None:
    """Not never: two grey rooms may differ by their objects alone, once the light is matched."""
    made = [
        capture_pair(replace(as_images(one), ground_truth=other.ground_truth), exact(one), CONFIG, FLATNESS)
        for one, other in zip(truths[:15], truths[15:], strict=True)
    ]
    refused = [each.reason for each in made if isinstance(each, Reject)]
    assert len(refused) >= 12
    assert refused.count(RejectReason.CAMERA_MOVED) >= 8


def test_the_key_names_images_settings_and_models(truths: list[CapturedPair]) -> None:
    images, perception = as_images(truths[0]), exact(truths[0])
    keys = []
    for pair, config in (
        (images, CONFIG),
        (images, CONFIG),
        (images, CaptureConfig(min_side_px=32)),
        (replace(images, key="another"), CONFIG),
    ):
        made = capture_pair(pair, perception, config, FLATNESS)
        assert isinstance(made, CapturedPair)
        keys.append(made.key)
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
