"""The command that makes perception's weights, in miniature, and measuring what it made."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from data_specs.errors import InputError
from flows.command_line import app
from flows.train_perception import chosen
from models.perception.yolo import YoloConfig, YoloDetector
from tasks.train_perception import yolo


def test_weights_come_with_a_card_and_leave_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yolo, "_STUDIO_PICTURES", 8)
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
    with pytest.raises(InputError, match="no trainer is called owl; there are sam, yolo"):
        chosen(["owl"])
