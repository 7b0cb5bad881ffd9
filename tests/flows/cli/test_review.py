"""`cleanplate review` as people type it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from data_specs.candidate import Candidate
from data_specs.review import Review
from flows.cli.main import app
from tasks.review.auth import hash_secret
from tasks.storage.shards import encode_candidate, write_shard
from tasks.storage.workspace import Workspace

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    place = Workspace.open(tmp_path / "workspace")
    image, mask = np.zeros((8, 8, 3), np.uint8), np.eye(8, dtype=bool)
    texts = dict.fromkeys(("item", "scene", "class_name", "variant", "model_hash", "source_hash"), "x")
    samples = [
        encode_candidate(
            Candidate(key=f"c{number}", split="train", source=image, mask=mask, removal=image, **texts),
            "png",
        )
        for number in range(4)
    ]
    write_shard(place, stage="candidates", round=1, index=0, input_digest="x", samples=samples)
    return place


@pytest.fixture
def run(workspace: Workspace) -> Run:
    def call(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["review", *words, "--workspace", str(workspace.root)])
        return done.exit_code, done.output

    return call


def test_a_batch_from_opening_to_quality(run: Run, workspace: Workspace) -> None:
    code, told = run("open", "b1", "--round", "1", "--overlap-fraction", "0.5", "--json")
    assert (code, json.loads(told)["items"], json.loads(told)["wanted"]) == (0, 4, 6)
    assert run("open", "b1", "--round", "1", "--overlap-fraction", "0.5")[0] == 0
    code, told = run("status", "--json")
    (row,) = json.loads(told)["batches"]
    assert (row["batch"], row["state"], row["left"]) == ("b1", "opened", 6)
    assert "0 of 6" in run("status")[1]
    code, told = run("quality", "b1", "--json")
    assert (code, json.loads(told)["people"], json.loads(told)["alpha"]) == (0, [], None)
    assert "Krippendorff's alpha" in run("quality", "b1")[1]


def test_people_are_invited_and_excluded(run: Run, workspace: Workspace) -> None:
    token = json.loads(run("reviewers", "add", "ana", "--json")[1])["token"]
    person = workspace.ledger().people.of_token(hash_secret(token))
    assert person is not None
    assert person.name == "ana"
    code, told = run("reviewers", "add", "ana")
    assert (code, "--new-token" in told) == (1, True)
    assert run("reviewers", "add", "ana", "--new-token")[0] == 0
    assert workspace.ledger().people.of_token(hash_secret(token)) is None
    assert run("reviewers", "disable", "ana", "--reason", "guesses")[0] == 0
    (row,) = json.loads(run("reviewers", "list", "--json")[1])["reviewers"]
    assert (row["excluded"], row["last"]["reason"]) == (True, "guesses")
    assert "guesses" in run("reviewers", "list")[1]
    assert run("reviewers", "enable", "ana", "--reason", "a misunderstanding")[0] == 0
    kinds = [each.kind for each in workspace.ledger().people.events("ana")]
    assert kinds == ["added", "token replaced", "excluded", "readmitted"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("serve", "--host", "0.0.0.0"), "could read tokens"),
        (("serve", "--batch", "none"), "no review batch none"),
        (("open", "b1", "--round", "9"), "no training candidates to review"),
        (("open", "../b1", "--round", "1"), "a batch's name"),
        (("open", "b1", "--round", "1", "--lease-seconds", "1"), "--lease-seconds: Input should be"),
        (
            ("open", "b1", "--round", "1", "--gold-fraction", "7"),
            "--gold-fraction: Input should be less than or",
        ),
        (
            ("serve", "--public-url", "http://review.example"),
            "is not an https:// address; write https://NAME",
        ),
        (("serve", "--trusted-proxy", "10.0.0.1"), "needs --public-url"),
        (("quality", "none"), "no review batch none"),
        (("reviewers", "add", "../ana"), "a person's name"),
        (("reviewers", "disable", "bob", "--reason", "x"), "no person bob"),
    ],
)
def test_refusals_are_one_sentence(run: Run, words: tuple[str, ...], sentence: str) -> None:
    code, told = run(*words)
    assert code == 1, told
    assert sentence in told
    assert "Traceback" not in told
    assert "pydantic" not in told


MALICE = "[/x] [red]no[/red] \x1b[2J\x00\n\u202e"
AS_SEEN = r"[/x] [red]no[/red] \x1b[2J\x00\n\u202e"


def test_words_that_are_in_a_ledger_already_are_shown_and_not_obeyed(
    run: Run, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert run("open", "b1", "--round", "1")[0] == 0
    assert run("reviewers", "add", "eve")[0] == 0
    now = datetime.now(UTC)
    workspace.ledger().people.disable("eve", MALICE, now)
    told: dict[str, Any] = {"candidate": "c0", "decision": "yes", "kind": "person", "answered_at": now}
    workspace.ledger().reviews.record(
        [Review(event=name, reviewer=name, batch="b1", **told) for name in (MALICE, "eve")]
    )
    for words in (("reviewers", "list"), ("quality", "b1"), ("status",)):
        code, printed = run(*words)
        assert code == 0, printed
        assert not {"\x1b", "\x00", "\u202e"} & set(printed)
        assert words == ("status",) or AS_SEEN in printed


@pytest.mark.parametrize("reason", ["a\x1b[2Jb", "a\nb", "\x00", "\u202ea"])
def test_a_control_character_is_no_reason(run: Run, workspace: Workspace, reason: str) -> None:
    assert run("reviewers", "add", "eve")[0] == 0
    for word in ("disable", "enable"):
        code, told = run("reviewers", word, "eve", "--reason", reason)
        assert (code, "control character" in " ".join(told.split())) == (2, True), told
    assert [each.kind for each in workspace.ledger().people.events("eve")] == ["added"]
