"""The card beside a model's weights: what it says, and that it stays what it was."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import tasks.registry.store
from tasks.registry.store import code_revision, keep_model, record
from tasks.storage.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "workspace")


def save(folder: Path) -> None:
    (folder / "unet").mkdir()
    save_file({"w": torch.arange(3.0)}, folder / "unet" / "model.safetensors")
    (folder / "config.json").write_text("{}")


def test_the_card_says_what_the_ledger_knows(workspace: Workspace) -> None:
    folder = keep_model(workspace, "digest", save)
    entry = record(
        workspace,
        kind="remover",
        model_hash="hash",
        folder=folder,
        parent="base",
        dataset_version=3,
        metrics={"loss": 0.5},
        settings={"training": {"steps": 7}},
    )
    data = (folder / "unet" / "model.safetensors").read_bytes()
    assert entry.weights == {"unet/model.safetensors": hashlib.sha256(data).hexdigest()}
    assert json.loads((folder / "model-card.json").read_text()) == {
        "hash": "hash",
        "kind": "remover",
        "distilled": False,
        "parent": "base",
        "dataset_version": 3,
        "metrics": {"loss": 0.5},
        "settings": {"training": {"steps": 7}},
        "weights": entry.weights,
        "git_revision": code_revision(),
    }
    assert workspace.ledger().models.of_hash("hash") == entry


def test_entered_again_by_other_code_it_stays_as_it_was(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = keep_model(workspace, "digest", save)

    def enter(loss: float) -> bytes:
        facts = {"parent": None, "dataset_version": None, "metrics": {"loss": loss}}
        record(workspace, kind="remover", model_hash="hash", folder=folder, **facts)
        return (folder / "model-card.json").read_bytes()

    first = enter(0.5)
    monkeypatch.setattr("tasks.registry.store.code_revision", lambda: "another")
    (folder / "model-card.json").unlink()
    assert enter(0.7) == first, "a killed process's missing card comes back, and says what the ledger says"


def test_the_revision_is_this_checkouts_or_the_versions_and_never_a_strangers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.registry.store, "_ROOT", tmp_path)
    git = tasks.registry.store._git
    code_revision.cache_clear()
    assert not code_revision() or code_revision().startswith("cleanplate "), "no checkout here"
    for words in (["init", "-q"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"]):
        git(*words, *(["--allow-empty"] if "commit" in words else []))
    head = git("rev-parse", "HEAD")
    assert len(head) == 40
    code_revision.cache_clear()
    assert code_revision() == head
    (tmp_path / "file").write_text("1")
    git("add", "file")
    code_revision.cache_clear()
    assert code_revision() == f"{head}-dirty"
    (tmp_path / "inside").mkdir()
    monkeypatch.setattr(tasks.registry.store, "_ROOT", tmp_path / "inside")
    code_revision.cache_clear()
    assert head not in code_revision(), "installed inside somebody else's checkout"
    code_revision.cache_clear()
