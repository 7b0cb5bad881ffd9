"""`cleanplate model`, as people and machines see it."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from data_specs.shard import EncodedSample
from flows.cli.main import app
from tasks.registry.store import keep_model, record
from tasks.storage.dataset import create_version
from tasks.storage.shards import write_shard
from tasks.storage.workspace import Workspace

run = CliRunner().invoke
BASE, LATER = "ba5e0123456789abcdef", "1a7e0123456789abcdef"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A base on version 1 and a later model on version 2, which leads; version 2 has a sample more."""
    workspace = Workspace.open(tmp_path / "workspace")
    monkeypatch.setenv("CLEANPLATE_WORKSPACE", str(workspace.root))
    monkeypatch.setenv("COLUMNS", "80")
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
    for number, (hash, loss) in enumerate(((BASE, 0.5), (LATER, 0.25)), start=1):

        def save(folder: Path, number: int = number) -> None:
            save_file({"w": torch.tensor(float(number))}, folder / "model.safetensors")

        record(
            workspace,
            kind="remover",
            model_hash=hash,
            folder=keep_model(workspace, hash, save),
            parent=BASE if hash == LATER else None,
            dataset_version=number,
            metrics={"loss": loss},
            settings={"training": {"steps": 10 * number}},
        )
        workspace.ledger().models.promote("remover", hash, f"reason {number} [1/2] \x07")
    workspace.ledger().models.record_measurement(LATER, "test split, all", 2, {"success_rate": 0.625})
    return workspace


def as_json(*words: str) -> dict:
    result = run(app, ["model", *words, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def said(*words: str) -> str:
    result = run(app, ["model", *words])
    assert result.exit_code == 0, result.output
    assert max(len(line.rstrip()) for line in result.stdout.splitlines()) <= 80
    return result.stdout


def test_list_and_show(workspace: Workspace) -> None:
    listed = as_json("list")
    assert listed["champions"] == {"remover": LATER}
    assert [(each["hash"], each["dataset_version"]) for each in listed["models"]] == [(BASE, 1), (LATER, 2)]
    assert as_json("list", "--kind", "base")["models"] == []
    (marked,) = [line for line in said("list").splitlines() if "→" in line]
    assert LATER in marked

    shown = as_json("show", LATER[:4])
    assert (shown["champion"], shown["fault"]) == (True, "")
    assert shown["record"]["parent"] == BASE
    assert shown["measurements"][0]["values"] == {"success_rate": 0.625}
    page = said("show", LATER)
    assert "success_rate 0.625" in page
    assert r"reason 2 [1/2] \x07" in page
    assert "1 file, as made" in page


def test_compare(workspace: Workspace) -> None:
    found = as_json("compare", BASE, LATER)
    assert (found["samples_added"], found["samples_removed"]) == (1, 0)
    assert found["values"][0] == {
        "measured_on": "its training",
        "name": "loss",
        "first": 0.5,
        "second": 0.25,
        "difference": -0.25,
    }
    assert found["settings"] == {"training.steps": [10, 20]}
    page = said("compare", BASE, LATER)
    assert "-0.25" in page
    assert "+1 −0 samples" in page
    assert "setting training.steps: 10 → 20" in page


def test_rollback_and_promote(workspace: Workspace) -> None:
    reason = ["--reason", "it leaves shadows"]
    assert as_json("rollback", *reason) == {"champion": BASE, "before": LATER, "kind": "remover"}
    assert as_json("rollback", *reason) == {"champion": BASE, "before": BASE, "kind": "remover"}
    assert as_json("list")["champions"] == {"remover": BASE}
    assert as_json("promote", LATER[:6], *reason)["champion"] == LATER
    assert f"it was {LATER}" in " ".join(said("rollback", "--reason", "it does, in truth").split())


def test_failures_are_one_sentence_and_wrong_use_is_2(workspace: Workspace) -> None:
    (workspace.models_dir / BASE / "model.safetensors").write_bytes(b"no weights")
    for words, fault in (
        (["promote", BASE, "--reason", "?"], "has changed since it was recorded; restore the file"),
        (["rollback", "--reason", "?"], "has changed since it was recorded; restore the file"),
        (["show", "beef"], "the ledger has no model beef; `cleanplate model list` shows"),
        (["list", "--kind", "friend"], "--kind: unknown kind friend; choose one of remover"),
    ):
        failed = run(app, ["model", *words])
        assert failed.exit_code == 1
        (sentence,) = failed.stderr.strip().splitlines()
        assert fault in sentence
    assert "has changed since it was recorded" in said("show", BASE).replace("\n", " ")
    assert run(app, ["model", "promote", BASE]).exit_code == 2
    assert run(app, ["model", "compare", BASE]).exit_code == 2
