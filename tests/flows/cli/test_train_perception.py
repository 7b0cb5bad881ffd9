"""The command that makes perception's weights, in miniature, and measuring what it made."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from data_specs.errors import InputError
from flows.cli.main import app
from flows.shipped_models import chosen
from models.perception.yolo import YoloConfig, YoloDetector, yolo_is_installed
from tasks.training.perception import yolo


@pytest.mark.skipif(not yolo_is_installed(), reason="the extra `yolo` is not installed")
def test_weights_come_with_a_card_and_leave_nothing_behind(
    prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yolo, "_SYNTHETIC_IMAGES", 8)
    monkeypatch.setattr(yolo, "_SETTLING_BATCHES", 1)
    out = tmp_path / "perception"
    asked = ["train", "perception", "--out", str(out), "--only", "yolo", "--scenes", "3", "--json"]
    trained = CliRunner().invoke(app, [*asked, "--steps", "2"])
    assert trained.exit_code == 0, trained.output
    (card,) = json.loads(trained.stdout)
    assert card["training"]["steps"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["perception"]
    assert sorted(path.name for path in (out / "yolo").iterdir()) == ["card.json", "model.safetensors"]
    assert YoloDetector(YoloConfig(weights=out / "yolo")).class_names[-1] == "person"
    measured = CliRunner().invoke(app, [*asked, "--measure"])
    assert json.loads(measured.stdout) == [card]


def test_an_unknown_model_is_named() -> None:
    with pytest.raises(InputError, match="unknown model owl; choose from sam, yolo"):
        chosen(["owl"], print)


def test_without_the_extra_yolo_is_left_out_of_all_and_refused_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    told: list[str] = []
    left = [trainer.name for trainer in chosen([], told.append)]
    assert left == ["sam", "mask2former", "depth_anything", "grounding_dino"]
    [sentence] = told
    assert sentence.startswith("yolo is left out: ")
    asked = CliRunner().invoke(app, ["train", "perception", "--out", str(tmp_path / "p"), "--only", "yolo"])
    assert asked.exit_code == 1
    assert "pip install 'cleanplate[yolo]'" in asked.output
    assert list(tmp_path.iterdir()) == []
