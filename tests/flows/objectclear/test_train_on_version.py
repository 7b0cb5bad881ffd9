"""The flow that adds composites to the dataset, and the command that trains ObjectClear on them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from data_specs.errors import FlowError
from flows.cli.main import app
from flows.objectclear.compositing import objectclear_compositing
from flows.objectclear.train_on_version import ObjectClearRunConfig, train_object_clear_on_version
from tasks.storage.dataset import load_samples
from tasks.storage.workspace import Workspace
from tests.flows.objectclear.test_compositing import small

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_composites_are_added_once_and_trained_on(tmp_path: Path) -> None:
    place = tmp_path / "workspace"
    result = objectclear_compositing(small(place, add_to_dataset=True))
    assert (result.version, result.added, result.left_out) == (1, result.composites, 0)
    samples = load_samples(Workspace.existing(place), 1)
    assert {s.split for s in samples} == {"train", "validation"}
    again = objectclear_compositing(small(place, add_to_dataset=True))
    assert (again.version, again.added) == (None, 0)
    assert len(Workspace.existing(place).ledger().versions.all()) == 1
    with pytest.raises(FlowError, match="name SDXL-inpainting with --parent"):
        train_object_clear_on_version(ObjectClearRunConfig(workspace=place, profile="full"))
    config = tmp_path / "short.json"
    config.write_text(json.dumps({"training": {"steps": 2, "batch_size": 2, "checkpoint_every": 1}}))
    words = ["train", "object-clear", "--workspace", str(place), "--config", str(config), "--json"]
    ended = CliRunner().invoke(app, words)
    assert ended.exit_code == 0, ended.output
    trained = json.loads(ended.stdout)
    assert len(trained["losses"]) == 2
    assert (place / trained["folder"] / "object_token").is_dir()
