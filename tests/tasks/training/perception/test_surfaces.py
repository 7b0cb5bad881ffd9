"""What the ground models learn from, and what they are measured by, against second ways to the same."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from data_specs.detection import SurfaceClass
from models.perception.depth_anything import tiny_depth_anything
from models.training.losses.perception import DepthBatch, inverse_depth_loss
from tasks.training.perception.depth_anything import rank_correlation, relative_error
from tasks.training.perception.mask2former import class_ious, confusion_of
from tasks.training.perception.samples import synthetic_surfaces, varied, varied_batches

FOUR = np.array([[0, 1], [2, 3]], np.uint8)


def inverse_along_rows(index: int) -> tuple[np.ndarray, np.ndarray, float]:
    seen = synthetic_surfaces(index, "measure", 96)
    return seen.classes, seen.depth, seen.horizon


@pytest.mark.parametrize("index", [0, 3, 6, 9])
def test_inverse_depth_of_the_ground_ends_at_the_true_horizon(index: int) -> None:
    classes, depth, horizon = inverse_along_rows(index)
    rows, columns = np.nonzero(classes == SurfaceClass.GROUND)
    slope, offset = np.polyfit(rows, 1 / depth[rows, columns], 1)
    assert -offset / slope == pytest.approx(horizon, abs=0.7)


def test_one_scene_in_three_is_empty_and_the_sky_has_no_depth() -> None:
    seen = [synthetic_surfaces(index, "train", 48) for index in range(30)]
    with_objects = [(each.classes == SurfaceClass.OBJECT).any() for each in seen]
    assert not any(with_objects[::3])
    assert all(with_objects[1::3])
    sky = np.concatenate([each.classes[np.isinf(each.depth)] for each in seen])
    assert (sky == SurfaceClass.SKY).all()
    assert len(sky) > 1000


def test_the_parts_share_no_image_and_repeat() -> None:
    one, again, other = (synthetic_surfaces(1, part, 48).image for part in ("train", "train", "measure"))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


@pytest.mark.parametrize("flip", [False, True])
def test_a_variant_keeps_classes_depth_and_horizon_together(flip: bool) -> None:
    seen = synthetic_surfaces(3, "measure", 128)
    rows, columns = np.nonzero(seen.classes == SurfaceClass.GROUND)
    original_slope = np.polyfit(rows, 1 / seen.depth[rows, columns], 1)[0]
    for seed in range(6):
        changed = varied(seen, flip, np.random.default_rng(seed))
        rows, columns = np.nonzero(changed.classes == SurfaceClass.GROUND)
        slope, offset = np.polyfit(rows, 1 / changed.depth[rows, columns], 1)
        assert -offset / slope == pytest.approx(changed.horizon, abs=1.5)
        assert changed.image.shape == seen.image.shape
        # As by the same lens from nearer: inverse depth grows by as much a row.
        assert slope == pytest.approx(original_slope, rel=0.03)


def test_batches_follow_from_the_step_alone() -> None:
    images = [synthetic_surfaces(index, "train", 32) for index in range(6)]
    batches = varied_batches(images, 4, 7, lambda chosen: np.stack([each.image for each in chosen]))
    whole = list(batches(0, 5, [slice(None)]))
    np.testing.assert_array_equal(next(iter(batches(3, 5, [slice(None)]))), whole[3])
    assert (whole[0] != whole[1]).any()


def test_ious_by_hand() -> None:
    found = np.array([[0, 1], [2, 2]], np.uint8)
    confusion = confusion_of(found, FOUR)
    assert confusion.sum() == 4
    np.testing.assert_allclose(class_ious(confusion), [1, 1, 0.5, 0])
    assert np.isnan(class_ious(confusion_of(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8)))[3])


def test_rank_correlation_is_scipys() -> None:
    rng = np.random.default_rng(0)
    one = rng.integers(0, 9, (20, 30)).astype(np.float32)
    other = (one + rng.normal(0, 3, one.shape)).astype(np.float32)
    other[:5] = np.inf
    assert rank_correlation(one, other) == pytest.approx(spearmanr(one.ravel(), other.ravel())[0])
    assert rank_correlation(one, np.exp(one)) == pytest.approx(1)


def test_relative_error_by_hand() -> None:
    true = np.array([[2, 4], [np.inf, 5]], np.float32)
    found = np.array([[3, 4], [1, np.inf]], np.float32)
    assert relative_error(found, true) == pytest.approx((0.5 + 0 + 19) / 3)


def test_the_depth_loss_has_no_unit_and_ends_at_the_truth() -> None:
    torch.manual_seed(0)
    network = tiny_depth_anything()
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        told = network(pixel_values=images).predicted_depth
        assert float(inverse_depth_loss(network, DepthBatch(images, told))) == 0
        loss = float(inverse_depth_loss(network, DepthBatch(images, told + 0.5)))
    assert loss == pytest.approx(0.5 / float((told + 0.5).mean()), rel=1e-4)
