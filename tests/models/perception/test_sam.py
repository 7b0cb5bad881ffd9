"""SAM against segment_anything's own predictor, and the published sizes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor, build_sam_vit_b
from segment_anything.modeling import Sam

import models.perception.sam as sam_module
from data_specs.detection import Box
from data_specs.errors import ModelError
from models.perception.sam import SIZES, SamConfig, SamSegmenter, build_sam
from models.perception.weights import FILE_NAME, SHIPPED, load_weights, weights_bytes
from tasks.training.perception.samples import synthetic_image


def test_the_published_size_has_the_published_keys() -> None:
    with torch.device("meta"):
        ours, theirs = build_sam(SIZES["vit_b"]), build_sam_vit_b()
    shapes = [{name: tuple(t.shape) for name, t in each.state_dict().items()} for each in (ours, theirs)]
    assert shapes[0] == shapes[1]
    assert len(shapes[0]) > 300


def test_on_a_whole_image_it_answers_as_segment_anythings_predictor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The published way of looking, here with the tiny network: same boxes and points, same masks."""
    whole = {**SIZES, "tiny": SIZES["tiny"].__class__(128, 8, 128, 4, 4, (1, 3), 8, 64, 4, 256, zoom=None)}
    monkeypatch.setattr(sam_module, "SIZES", whole)
    segmenter = SamSegmenter(SamConfig())
    network: Sam = build_sam(SIZES["tiny"])
    load_weights(network, SHIPPED / "sam", "")
    predictor = SamPredictor(network)
    image = synthetic_image(4, "measure", 128)
    source = np.ascontiguousarray(image.source[:96])  # 96×128: padded below
    predictor.set_image(source)
    box, point = Box(20, 30, 90, 90), (50.0, 60.0)
    for points in ([], [point]):
        (ours,) = segmenter.segment(source, [box], [points])
        theirs, _, _ = predictor.predict(
            point_coords=np.array(points) if points else None,
            point_labels=np.ones(len(points)) if points else None,
            box=np.array([box.left, box.top, box.right, box.bottom]),
            multimask_output=False,
        )
        np.testing.assert_array_equal(ours, theirs[0])
        assert 0 < ours.mean() < 1


def test_a_point_changes_what_is_cut() -> None:
    image = synthetic_image(2, "measure")
    segmenter = SamSegmenter(SamConfig())
    box = image.objects[0].box
    without, with_point = (
        segmenter.segment(image.source, [box], [points])[0]
        for points in ([], [(box.left + 1.0, box.top + 1.0)])
    )
    assert (without != with_point).any()


def test_wrong_weights_are_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="models.perception.convert sam"):
        SamSegmenter(SamConfig(weights=tmp_path))
    (tmp_path / FILE_NAME).write_bytes(weights_bytes(torch.nn.Linear(2, 2)))
    with pytest.raises(ModelError, match="these are weights of another network"):
        SamSegmenter(SamConfig(weights=tmp_path))
    (tmp_path / FILE_NAME).write_bytes(b"half a file")
    with pytest.raises(ModelError, match="damaged"):
        SamSegmenter(SamConfig(weights=tmp_path))
