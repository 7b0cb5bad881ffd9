from pathlib import Path

import pytest

from data_specs.errors import CleanplateError, FlowError, ModelError
from models.remover import InpaintingRemover
from tasks.model_store import BASE_FOLDER, shared_network_at
from tasks.removers import remover_named
from tasks.workspace import Workspace


def test_rorem_is_the_workspaces_champion(studio) -> None:
    found = remover_named("rorem", studio.workspace.root)
    assert isinstance(found, InpaintingRemover)
    champion = studio.workspace.ledger().champion("remover")
    assert champion is not None
    expected = shared_network_at((studio.workspace.root / champion.path).resolve())
    assert found.network.fingerprint() == expected.fingerprint()


def test_base_is_the_one_that_ships_and_its_folder_is_the_same() -> None:
    assert remover_named("base", None).model_hash == remover_named(str(BASE_FOLDER), None).model_hash
    assert remover_named("telea", None).model_hash.startswith("telea")


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("lama", ModelError, "lama: neither telea, base, rorem nor a folder"),
        ("rorem", FlowError, "no workspace is in use"),
    ],
)
def test_what_is_not_there_is_said(name: str, error: type[CleanplateError], said: str) -> None:
    with pytest.raises(error, match=said):
        remover_named(name, None)


def test_a_workspace_without_a_remover_names_the_base(tmp_path: Path) -> None:
    Workspace.open(tmp_path / "w")
    with pytest.raises(FlowError, match="name `base`"):
        remover_named("rorem", tmp_path / "w")


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a usable inpainting network"):
        remover_named(str(tmp_path), None)
