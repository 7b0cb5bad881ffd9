"""The command that makes ObjectClear's weights, in miniature: from nothing to a folder that removes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from flows.cli.main import app
from flows.objectclear.train_model import ObjectClearCard, ObjectClearTrainingConfig
from models.objectclear.pipeline import ObjectClearPipeline

ROOT = Path(__file__).resolve().parents[3]
SHORT = {"steps": 2, "batch_size": 2, "checkpoint_every": 1}
SETTINGS = {"encoder_objects": 4, "encoder_training": SHORT, "pairs": 4, "training": SHORT, "tested": 2}


def test_the_weights_come_with_their_card_and_leave_nothing_behind(
    prefect_server: None, tmp_path: Path
) -> None:
    config = tmp_path / "short.json"
    config.write_text(json.dumps(SETTINGS))
    out = tmp_path / "object_clear"
    result = CliRunner().invoke(
        app, ["train", "shipped-object-clear", "--out", str(out), "--config", str(config)]
    )
    assert result.exit_code == 0, result.output
    card = ObjectClearCard.model_validate_json((out / "card.json").read_text())
    assert card.config.pairs == 4
    assert 0 <= card.attention_iou_after <= 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["object_clear", "short.json"]
    pipeline = ObjectClearPipeline.from_pretrained(out)
    assert (pipeline.config["guidance_scale"], pipeline.config["num_inference_steps"]) == (1.0, 4)


def test_processes_that_it_would_not_start_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="starts no processes; leave processes at 1"):
        ObjectClearTrainingConfig.model_validate({"out": tmp_path, "distributed": {"processes": 2}})


@pytest.mark.slow
def test_two_processes_make_what_one_makes(tmp_path: Path) -> None:
    """The trainings end within rounding of one another, so the measured figures do too."""
    cards = []
    for processes in ("1", "2"):
        out, config = tmp_path / processes / "object_clear", tmp_path / "short.json"
        config.write_text(json.dumps(SETTINGS))
        command = [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", processes),
            *("-m", "flows.cli.main", "train", "shipped-object-clear", "--out", str(out)),
            *("--config", str(config)),
        ]
        run = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=900)
        assert run.returncode == 0, run.stderr[-3000:]
        assert run.stdout.count("wrote") == 1, "one process speaks for all"
        assert [path.name for path in out.parent.iterdir()] == ["object_clear"]
        cards.append(ObjectClearCard.model_validate_json((out / "card.json").read_text()))
    one, two = cards
    assert two.psnr_effect == pytest.approx(one.psnr_effect, abs=0.05)
    assert two.attention_iou_after == pytest.approx(one.attention_iou_after, abs=0.01)
