"""A workspace opens where it can, and says in one sentence where it cannot."""

import pickle
from pathlib import Path

import pytest

from data_specs.errors import InputError
from tasks.storage.workspace import Workspace
from tests.facts import Facts


def test_opening_twice_changes_nothing(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "new" / "work space")
    workspace.ledger().results.record("shard", "base", Facts({"kept": 1}))
    again = Workspace.open(workspace.root)
    assert again == workspace == pickle.loads(pickle.dumps(workspace))
    assert again.ledger().results.all("shard", Facts) == [Facts({"kept": 1})]
    assert {path.name for path in workspace.root.iterdir()} >= {"shards", "versions", "models", "reports"}


def test_a_file_is_no_workspace(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be used as a workspace"):
        Workspace.open(tmp_path / "file")


def test_a_workspace_that_must_exist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no workspace here"):
        Workspace.existing(tmp_path)
    assert list(tmp_path.iterdir()) == []
    made = Workspace.open(tmp_path)
    assert Workspace.existing(tmp_path) == made


def test_a_ledger_elsewhere_is_named_by_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "workspace"
    root.mkdir()
    (root / "ledger_url").write_text(f"sqlite:///{tmp_path / 'by file.sqlite'}\n")
    with pytest.raises(InputError, match="no workspace here"):
        Workspace.existing(root)
    workspace = Workspace.open(root)
    workspace.ledger().results.record("shard", "base", Facts({"kept": 1}))
    assert not (root / "ledger.sqlite").exists()
    assert (tmp_path / "by file.sqlite").is_file()
    assert Workspace.existing(root).ledger().results.all("shard", Facts) == [Facts({"kept": 1})]
    monkeypatch.setenv("CLEANPLATE_LEDGER", f"sqlite:///{tmp_path / 'by environment.sqlite'}")
    assert Workspace.existing(root).ledger().results.all("shard", Facts) == []
    assert (tmp_path / "by environment.sqlite").is_file()


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ("not an address", "names no ledger; write sqlite"),
        ("mysql://me:secret@host/x", "names no ledger"),
        ("oracle+none://me:secret@host/x", "names no ledger"),
        ("postgresql+psycopg2://me:secret@host/x", "its driver psycopg2 is missing; .*postgresql.psycopg:"),
    ],
)
def test_an_address_that_names_no_ledger_is_a_sentence_without_its_password(
    address: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEANPLATE_LEDGER", address)
    with pytest.raises(InputError, match=f"CLEANPLATE_LEDGER: {fault}") as refused:
        Workspace.open(tmp_path)
    assert "secret" not in str(refused.value)
