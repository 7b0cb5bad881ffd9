"""Work that sees is named by what the models are: not by their place, and not at all where none is asked."""

import shutil
from pathlib import Path

import pytest

from models.perception.sam import SamConfig
from models.perception.weights import SHIPPED
from tasks.objectclear.cutout import CutOutWork
from tasks.objectclear.ground import FlatGroundConfig
from tasks.objectclear.object_mask import CaptureConfig
from tasks.objectclear.perception import PerceptionConfig, SeeingWork
from tasks.objectclear.plate import PlateConfig, PlateWork
from tasks.sources.backgrounds import SyntheticBackgrounds
from tasks.sources.pairs import SyntheticPairs

COMMON = {"round": 0, "index": 0, "flatness": FlatGroundConfig(), "count": 3}


def cutting(perception: PerceptionConfig, use_rendered_truth: bool) -> SeeingWork:
    own = {"source": SyntheticPairs(use_rendered_truth=use_rendered_truth), "capture": CaptureConfig()}
    return CutOutWork.model_validate({**COMMON, **own, "perception": perception})


def finding(perception: PerceptionConfig, use_rendered_truth: bool) -> SeeingWork:
    own = {"source": SyntheticBackgrounds(use_rendered_truth=use_rendered_truth), "limits": PlateConfig()}
    return PlateWork.model_validate({**COMMON, **own, "perception": perception})


@pytest.mark.parametrize("work", [cutting, finding])
def test_the_models_and_not_their_place_name_the_work(work, tmp_path: Path) -> None:
    shutil.copytree(SHIPPED / "sam", tmp_path / "moved")
    moved = PerceptionConfig(segmenter=SamConfig(weights=tmp_path / "moved"))
    shutil.copytree(SHIPPED / "sam", tmp_path / "trained")
    (tmp_path / "trained/model.safetensors").write_bytes(b"other weights")
    other = PerceptionConfig(segmenter=SamConfig(weights=tmp_path / "trained"))
    shipped = work(PerceptionConfig(), use_rendered_truth=False).digest
    assert work(moved, use_rendered_truth=False).digest == shipped
    assert work(other, use_rendered_truth=False).digest != shipped
    assert (
        work(other, use_rendered_truth=True).digest
        == work(PerceptionConfig(), use_rendered_truth=True).digest
        != shipped
    )
