"""The command that makes ObjectClear's weights, in miniature: from nothing to a folder that removes."""

import json
from pathlib import Path

from typer.testing import CliRunner

from flows.command_line import app
from flows.train_object_clear import ObjectClearCard
from models.object_clear_pipeline import ObjectClearPipeline

SHORT = {"steps": 2, "batch_size": 2, "checkpoint_every": 1}


def test_the_weights_come_with_their_card_and_leave_nothing_behind(tmp_path: Path) -> None:
    settings = {
        "encoder_objects": 4,
        "encoder_training": SHORT,
        "pairs": 4,
        "training": SHORT,
        "tested": 2,
    }
    config = tmp_path / "short.json"
    config.write_text(json.dumps(settings))
    out = tmp_path / "object_clear"
    result = CliRunner().invoke(app, ["train", "object-clear", "--out", str(out), "--config", str(config)])
    assert result.exit_code == 0, result.output
    card = ObjectClearCard.model_validate_json((out / "card.json").read_text())
    assert card.config.pairs == 4
    assert 0 <= card.attention_iou_after <= 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["object_clear", "short.json"]
    pipeline = ObjectClearPipeline.from_pretrained(out)
    assert (pipeline.config["guidance_scale"], pipeline.config["num_inference_steps"]) == (1.0, 4)
