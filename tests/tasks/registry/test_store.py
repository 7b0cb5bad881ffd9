"""The model store: complete or absent, and an equal model already there is kept."""

from pathlib import Path

import pytest

from data_specs.errors import ModelError
from tasks.registry.store import keep_model, network_at, record, shared_network_at
from tasks.storage.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "workspace")


def saving(text: str):
    def save(folder: Path) -> None:
        (folder / "unet").mkdir()
        (folder / "unet" / "weights").write_text(text)

    return save


def test_written_aside_then_named(workspace: Workspace) -> None:
    seen: list[tuple[Path, bool]] = []

    def save(folder: Path) -> None:
        saving("weights")(folder)
        seen.append((folder, (workspace.models_dir / "digest").exists()))

    folder = keep_model(workspace, "digest", save)
    assert folder == workspace.models_dir / "digest"
    assert (folder / "unet" / "weights").read_text() == "weights"
    ((aside, named_already),) = seen
    assert (aside.parent, aside.exists(), named_already) == (workspace.models_dir, False, False)


def test_one_already_there_is_kept(workspace: Workspace) -> None:
    keep_model(workspace, "digest", saving("first"))
    folder = keep_model(workspace, "digest", saving("second"))
    assert (folder / "unet" / "weights").read_text() == "first"


def test_the_slower_of_two_keeps_the_faster_ones(workspace: Workspace) -> None:
    def save(folder: Path) -> None:
        saving("slower")(folder)
        saving_beside = workspace.models_dir / "digest"
        saving_beside.mkdir()
        saving("faster")(saving_beside)

    folder = keep_model(workspace, "digest", save)
    assert (folder / "unet" / "weights").read_text() == "faster"
    assert [path.name for path in workspace.models_dir.iterdir()] == ["digest"]


def test_a_failed_save_leaves_no_model_and_the_next_succeeds(workspace: Workspace) -> None:
    def save(folder: Path) -> None:
        (folder / "half").write_text("a half")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        keep_model(workspace, "digest", save)
    assert list(workspace.models_dir.iterdir()) == []
    folder = keep_model(workspace, "digest", saving("whole"))
    assert [path.name for path in folder.iterdir()] == ["unet"], "nothing of the half one"


def test_recorded_once(workspace: Workspace) -> None:
    folder = keep_model(workspace, "digest", saving("x"))
    for _ in range(2):
        record(
            workspace,
            kind="remover",
            model_hash="hash",
            folder=folder,
            parent=None,
            dataset_version=None,
            metrics={"loss": 0.5},
        )
    assert workspace.ledger().models.of_hash("hash").path == "models/digest", (
        "relative: a workspace can be moved"
    )


def test_no_model_is_named_with_what_to_do(workspace: Workspace) -> None:
    with pytest.raises(ModelError, match="nowhere: holds no model; run"):
        network_at(workspace.models_dir / "nowhere")


def test_one_to_train_is_ones_own_and_one_to_read_is_shared(studio) -> None:
    folder = studio.workspace.root / studio.remover.folder
    assert network_at(folder) is not network_at(folder)
    assert shared_network_at(folder) is shared_network_at(folder)
