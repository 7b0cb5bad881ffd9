"""A workspace opens where it can, and says in one sentence where it cannot."""

import pickle
from pathlib import Path

import pytest

from data_specs.errors import InputError
from tasks.workspace import Workspace


def test_opening_twice_changes_nothing(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "new" / "work space")
    workspace.ledger().record_phase("run", "base", {"kept": 1})
    again = Workspace.open(workspace.root)
    assert again == workspace == pickle.loads(pickle.dumps(workspace))
    assert again.ledger().phases("run") == [{"kept": 1}]
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
