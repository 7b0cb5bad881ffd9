"""Perception's shipped back ends through their Protocols: any image goes in, no socket is opened."""

import subprocess
import sys

import numpy as np
import pytest

from data_specs.detection import Box
from models.perception.grounding_dino import GroundingDinoConfig
from models.perception.registry import DetectorConfig, SegmenterConfig, build_detector, build_segmenter
from models.perception.yolo import YoloConfig, yolo_is_installed
from models.protocols import Detector, Segmenter
from tasks.objectclear.perception import PerceptionConfig
from tasks.training.perception.boxes import blind_recall, box_score
from tasks.training.perception.sam import mask_score
from tasks.training.perception.samples import synthetic_image

SHAPES = [(1, 1), (1, 400), (300, 2), (48, 200), (360, 480)]


YOLO = pytest.param(
    YoloConfig(),
    marks=pytest.mark.skipif(not yolo_is_installed(), reason="the extra `yolo` is not installed"),
    id="yolo",
)
DINO = pytest.param(GroundingDinoConfig(), id="grounding_dino")
DETECTORS = [YOLO, DINO]

FLOORS = {
    "yolo": (0.75, 0.75, 0.5),
    # Grounding DINO finds solids, and confuses their shapes more than YOLO does (docs/log.md).
    "grounding_dino": (0.75, 0.4, 0.4),
}


@pytest.fixture(scope="module", params=DETECTORS)
def detector(request: pytest.FixtureRequest) -> Detector:
    return build_detector(request.param)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return build_segmenter(SegmenterConfig())


@pytest.mark.parametrize("shape", SHAPES)
def test_images_of_any_size_are_looked_at(
    detector: Detector, segmenter: Segmenter, shape: tuple[int, int]
) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    height, width = shape
    for found in detector.detect(image):
        assert 0 <= found.box.left < found.box.right <= width
        assert 0 <= found.box.top < found.box.bottom <= height
    boxes = [Box(0, 0, width, height), Box(width / 3, height / 3, width / 2, height / 2)]
    masks = segmenter.segment(image, boxes, [[], [(width / 2.5, height / 2.5)]])
    assert [mask.shape for mask in masks] == [shape, shape]
    assert all(mask.dtype == np.bool_ for mask in masks)


def test_nothing_there_is_nothing_found(detector: Detector, segmenter: Segmenter) -> None:
    empty = np.full((120, 160, 3), 127, np.uint8)
    assert detector.detect(empty) == []
    assert segmenter.segment(empty, []) == []


def test_the_surest_comes_first_and_twice_is_the_same(detector: Detector) -> None:
    image = synthetic_image(3, "measure").source
    found = detector.detect(image)
    assert found
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
    assert found == detector.detect(image)


def test_boxes_follow_the_images_size(detector: Detector) -> None:
    """The same image four times as large, by whole pixels, has the surest box four times as far out."""
    image = synthetic_image(2, "measure", 64).source
    small = detector.detect(image)
    large = detector.detect(image.repeat(4, axis=0).repeat(4, axis=1))
    assert small
    assert abs(len(large) - len(small)) <= 1  # what is about as sure as it must be may come or go
    edges = [
        np.array([[b.left, b.top, b.right, b.bottom] for b in (d.box for d in each)])
        for each in (small, large)
    ]
    assert np.abs(edges[1] / 4 - edges[0][0]).max(axis=1).min() < 2


@pytest.mark.parametrize("config", DETECTORS)
def test_solids_are_found_better_than_without_looking(config: DetectorConfig) -> None:
    recall, precision, named_recall = FLOORS[config.kind]
    scenes = [synthetic_image(index, "measure") for index in range(24)]
    boxes = box_score(build_detector(config), scenes)
    assert boxes.recall > max(recall, 3 * blind_recall(scenes))
    assert boxes.precision > precision
    assert boxes.named_recall > named_recall


def test_solids_are_cut_better_than_without_looking(segmenter: Segmenter) -> None:
    scenes = [synthetic_image(index, "measure") for index in range(24)]
    masks = mask_score(segmenter, scenes)
    assert masks.iou > 0.88
    assert masks.iou > masks.ellipse_iou + 0.08


@pytest.mark.parametrize("config", DETECTORS)
def test_another_threshold_is_another_hash(config: DetectorConfig) -> None:
    first = build_detector(config).model_hash
    assert build_detector(config.model_copy()).model_hash == first
    assert build_detector(config.model_copy(update={"min_score": 0.5})).model_hash != first


@pytest.mark.skipif(not yolo_is_installed(), reason="the extra `yolo` is not installed")
def test_no_socket_is_opened_no_settings_written_and_no_others_function_replaced(tmp_path) -> None:
    """In a process of its own, which imports ultralytics anew and ends at the first socket."""
    script = (
        "import sys\n"
        "def refuse(event, args):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo', 'socket.bind'): raise SystemExit(event)\n"
        "sys.addaudithook(refuse)\n"
        "import cv2, numpy as np, torch\n"
        "from PIL import Image\n"
        "before = (Image.open, cv2.imread, cv2.imwrite, torch.save)\n"
        "from models.perception.grounding_dino import GroundingDinoConfig\n"
        "from models.perception.registry import build_detector\n"
        "from models.perception.yolo import YoloConfig\n"
        "for config in (YoloConfig(), GroundingDinoConfig()):\n"
        "    build_detector(config).detect(np.zeros((9, 9, 3), np.uint8))\n"
        "assert 'ultralytics' in sys.modules\n"
        "assert (Image.open, cv2.imread, cv2.imwrite, torch.save) == before\n"
    )
    home = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("Ultralytics")) == []


def test_grounding_dino_does_without_ultralytics() -> None:
    script = (
        "import sys, numpy as np\n"
        "sys.modules['ultralytics'] = None\n"
        "from tasks.objectclear.perception import PerceptionConfig, load_perception\n"
        "config = PerceptionConfig.model_validate({'detector': {'kind': 'grounding_dino'}})\n"
        "load_perception(config).detector.detect(np.zeros((9, 9, 3), np.uint8))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def without_ultralytics(script: str) -> str:
    """What a script prints in a process where ultralytics cannot be imported."""
    command = [sys.executable, "-c", f"import sys\nsys.modules['ultralytics'] = None\n{script}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_without_the_extra_the_default_is_grounding_dino_and_says_so() -> None:
    said = without_ultralytics(
        "from models.perception.registry import detector_words\n"
        "from tasks.objectclear.perception import PerceptionConfig\n"
        "import flows.objectclear.compositing, flows.rorem.cycle\n"
        "print(PerceptionConfig().model_dump_json())\n"
        "print(detector_words(PerceptionConfig().detector))\n"
    )
    stated, words = said.splitlines()
    assert PerceptionConfig.model_validate_json(stated).detector == GroundingDinoConfig()
    assert words.startswith("Grounding DINO finds the objects: ")
    assert words.endswith("`pip install 'cleanplate[yolo]'` brings it (AGPL-3.0)")


def test_who_does_the_work_takes_the_detector_that_the_config_names() -> None:
    """A worker without the extra neither finds with another detector nor names the work otherwise."""
    config = PerceptionConfig(detector=YoloConfig())
    said = without_ultralytics(
        "from data_specs.errors import ModelError\n"
        "from tasks.objectclear.perception import PerceptionConfig, load_perception\n"
        f"config = PerceptionConfig.model_validate_json({config.model_dump_json()!r})\n"
        "print(config.fingerprint)\n"
        "try:\n"
        "    load_perception(config)\n"
        "except ModelError as error:\n"
        "    print(error)\n"
    )
    fingerprint, refusal = said.splitlines()
    assert fingerprint == config.fingerprint
    assert refusal == "ultralytics is not installed; `pip install 'cleanplate[yolo]'` brings it (AGPL-3.0)"
