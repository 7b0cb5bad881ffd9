"""`cleanplate dataset`, as people and machines see it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from data_specs.shard import EncodedSample
from flows.cli.dataset import dataset_app
from tasks.storage.dataset import create_version
from tasks.storage.shards import write_shard
from tasks.storage.workspace import Workspace

run = CliRunner().invoke


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Two versions: one sample, then two."""
    workspace = Workspace.open(tmp_path / "workspace")
    monkeypatch.setenv("CLEANPLATE_WORKSPACE", str(workspace.root))
    refs = [
        write_shard(
            workspace,
            stage="triplets",
            round=0,
            index=index,
            input_digest=f"work {index}",
            samples=[EncodedSample(f"key-{index}", {"json": b"{}"}, "s", "train")],
        )
        for index in range(2)
    ]
    create_version(workspace, [(refs[0], None)], None, "the first")
    create_version(workspace, [(each, None) for each in refs], 1, "grown")
    return workspace


def as_json(*words: str) -> dict:
    result = run(dataset_app, [*words, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_list_and_show(workspace: Workspace) -> None:
    listed = as_json("list")
    assert (listed["current"], [each["samples"] for each in listed["versions"]]) == (2, [1, 2])
    assert as_json("show")["note"] == "grown"
    assert as_json("show", "1")["current"] is False
    assert "the first" in run(dataset_app, ["list"]).stdout
    assert "grown from" in run(dataset_app, ["show"]).stdout


def test_a_note_is_shown_and_not_obeyed(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    refs = workspace.ledger().shards.all(stage="triplets")
    create_version(workspace, [(each, None) for each in refs], 2, "[/x] [red]no[/red] \x1b[2J")
    for word in ("list", "show"):
        printed = run(dataset_app, [word])
        assert printed.exit_code == 0, printed.output
        assert r"[/x] [red]no[/red] \x1b[2J" in printed.stdout
    refused = run(dataset_app, ["rollback", "1", "--reason", "\x1b[2J"])
    assert (refused.exit_code, "control character" in refused.output) == (2, True)


def test_diff(workspace: Workspace) -> None:
    assert as_json("diff", "1", "2") == {
        "before": 1,
        "after": 2,
        "added": ["key-1"],
        "removed": [],
        "kept": 1,
    }
    assert "1 added, 0 removed, 1 kept" in run(dataset_app, ["diff", "1", "2"]).stdout


def test_verify_exits_with_1_on_a_fault(workspace: Workspace) -> None:
    assert as_json("verify")["clean"] is True
    next(workspace.shards_dir.glob("*.tar")).unlink()
    result = run(dataset_app, ["verify", "--json"])
    assert result.exit_code == 1
    assert {each["kind"] for each in json.loads(result.stdout)["faults"]} == {"missing"}
    assert run(dataset_app, ["verify"]).exit_code == 1


def test_rollback(workspace: Workspace) -> None:
    assert as_json("rollback", "1", "--reason", "seams") == {"current": 1, "before": 2}
    assert as_json("list")["current"] == 1


def test_failures_are_one_sentence_and_wrong_use_is_2(workspace: Workspace, tmp_path: Path) -> None:
    failed = run(dataset_app, ["show", "9"])
    assert failed.exit_code == 1
    assert failed.stderr.strip().splitlines() == [
        "cleanplate: there is no dataset version 9; `cleanplate dataset list` shows all"
    ]
    nowhere = run(dataset_app, ["list", "--workspace", str(tmp_path / "nowhere")])
    assert (nowhere.exit_code, "no workspace here" in nowhere.stderr) == (1, True)
    assert run(dataset_app, ["diff", "1"]).exit_code == 2
    assert run(dataset_app, ["rollback", "1"]).exit_code == 2
