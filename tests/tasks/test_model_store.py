"""Models in a workspace: whole or absent, and nothing is left of a training that ended."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.model_store import drop_checkpoint, keep_model
from tasks.workspace import Workspace

ROOT = Path(__file__).parents[2]
KILLED_WHILE_SAVING = """
import os, sys
from tasks.model_store import keep_model
from tasks.workspace import Workspace
def save(folder):
    (folder / "unet").mkdir()
    (folder / "unet" / "weights.safetensors").write_text("half")
    os.kill(os.getpid(), 9)
keep_model(Workspace.open(sys.argv[1]), "abc", save)
"""


def test_a_model_saved_half_by_a_killed_process_is_swept_and_saved_anew(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", KILLED_WHILE_SAVING, str(tmp_path)]
    assert subprocess.run(command, env=environment, check=False).returncode == -9
    assert len(list((tmp_path / "models").iterdir())) == 1
    workspace = Workspace.open(tmp_path)
    assert list(workspace.models_dir.iterdir()) == []
    folder = keep_model(workspace, "abc", lambda aside: (aside / "whole").touch())
    assert [path.name for path in folder.iterdir()] == ["whole"]


def test_a_model_that_is_there_is_not_saved_again(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    folder = keep_model(workspace, "abc", lambda aside: (aside / "whole").touch())
    assert keep_model(workspace, "abc", lambda _: pytest.fail("saved again")) == folder
    assert [path.name for path in workspace.models_dir.iterdir()] == ["abc"]


def test_a_finished_training_leaves_no_checkpoint(tmp_path: Path) -> None:
    checkpoint = tmp_path / "abc.checkpoint.safetensors"
    for path in (checkpoint, tmp_path / f"{checkpoint.name}.123.aside", tmp_path / "other.checkpoint"):
        path.touch()
    drop_checkpoint(checkpoint)
    drop_checkpoint(checkpoint)
    assert [path.name for path in tmp_path.iterdir()] == ["other.checkpoint"]
