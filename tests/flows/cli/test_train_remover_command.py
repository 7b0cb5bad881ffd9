"""`cleanplate train remover` as people start it: by one process, by two, killed, taken up by another."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from data_specs.errors import FlowError, LedgerError, ModelError
from flows.rorem.train_remover import RemoverTrainingConfig, train_on_version
from models.training.loop import TrainingConfig
from tasks.registry.store import BASE_FOLDER, check_weights
from tasks.sources.synthetic.samples import SyntheticConfig
from tasks.sources.synthetic.shards import RenderWork, render
from tasks.storage.dataset import create_version
from tasks.storage.workspace import Workspace

ROOT = Path(__file__).resolve().parents[3]
TRAINING = TrainingConfig(steps=8, batch_size=4, warmup_steps=1, checkpoint_every=2)


def workspace_at(folder: Path) -> Workspace:
    """Twelve pairs of 32 px, and a version of them."""
    space = Workspace.open(folder)
    studio = SyntheticConfig(size_px=32, seed=4)
    pairs = render(space, RenderWork(round=0, index=0, stage="triplets", renderer=studio, first=0, count=12))
    create_version(space, [(pairs, None)], None, "pairs")
    return space


def started(workspace: Workspace, processes: int) -> subprocess.Popen:
    """The command in a session of its own."""
    settings = workspace.root / "settings.json"
    settings.write_text(json.dumps({"training": TRAINING.model_dump()}))
    command = [
        *(sys.executable, "-m", "flows.cli.main", "train", "remover", "--workspace", str(workspace.root)),
        *("--parent", str(BASE_FOLDER), "--config", str(settings), "--processes", str(processes), "--json"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def unbroken(tmp_path: Path) -> tuple[float, ...]:
    """The losses of one process that nobody disturbs."""
    space = workspace_at(tmp_path / "unbroken")
    config = RemoverTrainingConfig(workspace=space.root, parent=str(BASE_FOLDER), training=TRAINING)
    return train_on_version.fn(config).losses.means


def test_two_processes_end_as_one(tmp_path: Path) -> None:
    space = workspace_at(tmp_path / "space")
    out, errors = started(space, 2).communicate(timeout=300)
    told = json.loads(out)
    np.testing.assert_allclose(told["losses"]["means"], unbroken(tmp_path), rtol=2e-5)
    assert "step 8 of 8: loss" in errors
    assert errors.count("step 8 of 8") == 1, "one process speaks for all"
    with closing(sqlite3.connect(space.root / "prefect/prefect.db")) as kept:
        runs = kept.execute("select name, state_name from flow_run").fetchall()
    assert runs == [("train a remover, tiny", "Completed")], "one run for both processes"
    entry = space.ledger().models.of_hash(told["remover"]["hash"])
    assert (space.root / entry.path / "unet").is_dir()
    assert list(space.models_dir.glob("*checkpoint*")) == []


def test_killed_in_two_processes_it_goes_on_in_one(tmp_path: Path) -> None:
    space = workspace_at(tmp_path / "space")
    process = started(space, 2)
    while not list(space.models_dir.glob("*.checkpoint.safetensors")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    out, _ = started(space, 1).communicate(timeout=300)
    np.testing.assert_allclose(json.loads(out)["losses"]["means"], unbroken(tmp_path), rtol=2e-5)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    space = Workspace.open(tmp_path / "empty")
    with pytest.raises(FlowError, match="has no dataset version; run `cleanplate ingest`"):
        train_on_version.fn(RemoverTrainingConfig(workspace=space.root))
    space = workspace_at(tmp_path / "pairs")
    with pytest.raises(FlowError, match="no champion; name a network's folder, or a model by its hash"):
        train_on_version.fn(RemoverTrainingConfig(workspace=space.root))


def test_a_model_of_the_workspace_is_trained_on_by_its_hash(tmp_path: Path) -> None:
    space = workspace_at(tmp_path / "space")
    short = TRAINING.model_copy(update={"steps": 2})

    def trained_from(parent: str) -> str:
        config = RemoverTrainingConfig(workspace=space.root, parent=parent, training=short)
        return train_on_version.fn(config).remover.hash

    first = trained_from(str(BASE_FOLDER))
    second = space.ledger().models.of_hash(trained_from(first[:8]))
    assert (second.parent, second.dataset_version) == (first, 1)
    assert second.settings["training"]["steps"] == 2
    check_weights(space.root / second.path, second)
    assert set(second.weights) == {
        "prompt.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    }
    with pytest.raises(LedgerError, match="has no model nowhere"):
        trained_from("nowhere")
    assert space.ledger().models.champion("remover") is None, "training promotes nothing"
    (space.root / second.path / "vae/diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"vae/diffusion_pytorch_model\.safetensors is missing"):
        trained_from(second.hash)
