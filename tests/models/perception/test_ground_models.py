"""The shipped ground models: any image goes in, the same comes out again, and they know the studio."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from transformers import Mask2FormerForUniversalSegmentation

from data_specs.detection import SurfaceClass
from data_specs.errors import ModelError
from models.perception.depth_anything import DepthAnythingConfig, DepthAnythingEstimator
from models.perception.mask2former import Mask2FormerConfig
from models.perception.registry import build_depth_estimator, build_ground_segmenter
from models.perception.weights import SHIPPED
from models.protocols import DepthEstimator, GroundSegmenter
from tasks.training.perception.depth_anything import rank_correlation, relative_error
from tasks.training.perception.mask2former import class_ious, confusion_of
from tasks.training.perception.samples import SeenSurfaces, synthetic_surfaces
from tests.published.checkpoints import depth_anything

SHAPES = [(1, 1), (1, 300), (300, 1), (37, 61), (96, 96), (240, 320)]


@pytest.fixture(scope="module")
def segmenter() -> GroundSegmenter:
    return build_ground_segmenter(Mask2FormerConfig())


@pytest.fixture(scope="module")
def estimator() -> DepthEstimator:
    return build_depth_estimator(DepthAnythingConfig())


@pytest.fixture(scope="module")
def unseen() -> list[SeenSurfaces]:
    return [synthetic_surfaces(index, "measure", 128) for index in range(12)]


@pytest.mark.parametrize("shape", SHAPES)
def test_any_image_goes_in(
    shape: tuple[int, int], segmenter: GroundSegmenter, estimator: DepthEstimator
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    for image in (noise, np.full_like(noise, 128), np.zeros_like(noise)):
        classes, depth = segmenter.classify(image), estimator.estimate(image)
        assert (classes.shape, classes.dtype) == (shape, np.uint8)
        assert (depth.shape, depth.dtype) == (shape, np.float32)
        assert classes.max() <= max(SurfaceClass)
        assert (depth > 0).all()
        np.testing.assert_array_equal(segmenter.classify(image), classes)
        np.testing.assert_array_equal(estimator.estimate(image), depth)


def test_the_surfaces_of_unseen_scenes(segmenter: GroundSegmenter, unseen: list[SeenSurfaces]) -> None:
    confusion = sum(confusion_of(segmenter.classify(each.image), each.classes) for each in unseen)
    assert class_ious(np.asarray(confusion))[SurfaceClass.GROUND] > 0.9
    assert class_ious(np.asarray(confusion)).mean() > 0.75


def test_the_depth_of_unseen_scenes(estimator: DepthEstimator, unseen: list[SeenSurfaces]) -> None:
    found = [estimator.estimate(each.image) for each in unseen]
    row = np.broadcast_to(-np.arange(128, dtype=np.float32)[:, None], (128, 128))
    ours = np.median([rank_correlation(depth, each.depth) for depth, each in zip(found, unseen, strict=True)])
    trivial = np.median([rank_correlation(row, each.depth) for each in unseen])
    assert ours > trivial
    assert np.median([relative_error(d, each.depth) for d, each in zip(found, unseen, strict=True)]) < 0.25


def test_other_weights_are_another_model(
    tmp_path: Path, segmenter: GroundSegmenter, estimator: DepthEstimator
) -> None:
    assert build_ground_segmenter(Mask2FormerConfig()).model_hash == segmenter.model_hash
    copy = shutil.copytree(SHIPPED / "mask2former", tmp_path / "copy")
    altered = bytearray((copy / "model.safetensors").read_bytes())
    altered[-1] ^= 1
    (copy / "model.safetensors").write_bytes(altered)
    assert build_ground_segmenter(Mask2FormerConfig(weights=copy)).model_hash != segmenter.model_hash
    assert segmenter.model_hash != estimator.model_hash


def test_a_published_network_of_ade20k_speaks_of_surfaces(tmp_path: Path) -> None:
    """The same network under ADE20K's names: what it calls road, earth and grass is ground all the same."""
    folder = shutil.copytree(SHIPPED / "mask2former", tmp_path / "ade")
    network = Mask2FormerForUniversalSegmentation.from_pretrained(folder)
    network.config.id2label = {0: "earth, ground", 1: "wall", 2: "sky", 3: "car"}
    network.config.save_pretrained(folder)
    image = synthetic_surfaces(1, "measure", 96).image
    expected = build_ground_segmenter(Mask2FormerConfig()).classify(image)
    found = build_ground_segmenter(Mask2FormerConfig(weights=folder)).classify(image)
    np.testing.assert_array_equal(found, expected)
    network.config.id2label = {0: "cat", 1: "dog", 2: "car", 3: "boat"}
    network.config.save_pretrained(folder)
    with pytest.raises(ModelError, match="none of the model's 4 classes is ground"):
        build_ground_segmenter(Mask2FormerConfig(weights=folder))


def test_a_metric_checkpoint_tells_metres_and_a_relative_one_is_refused(tmp_path: Path) -> None:
    metric = DepthAnythingEstimator(
        DepthAnythingConfig(weights=depth_anything(tmp_path / "metric", "metric"))
    )
    depth = metric.estimate(np.full((50, 70, 3), 90, np.uint8))
    assert depth.shape == (50, 70)
    assert (depth > 0).all()
    assert (depth < 80).all()
    with pytest.raises(ModelError, match="relative depth without a unit"):
        DepthAnythingEstimator(DepthAnythingConfig(weights=depth_anything(tmp_path / "relative", "relative")))


def test_a_folder_without_weights_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no DepthAnythingForDepthEstimation can be read"):
        build_depth_estimator(DepthAnythingConfig(weights=tmp_path))
    with pytest.raises(ModelError, match="no Mask2FormerForUniversalSegmentation can be read"):
        build_ground_segmenter(Mask2FormerConfig(weights=tmp_path))
