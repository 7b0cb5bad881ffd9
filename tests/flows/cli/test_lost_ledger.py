"""A ledger that is damaged, empty or gone: each command says so in a sentence; none begins anew unasked."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from data_specs.shard import EncodedSample
from flows.cli.main import app
from tasks.storage.dataset import create_version, verify_dataset
from tasks.storage.shards import write_shard
from tasks.storage.workspace import Workspace

ROWS = 3_000
"""So many that the ledger has pages enough to lose some in the middle."""
COMMANDS = (
    "dataset list",
    "dataset show",
    "dataset diff 1 1",
    "dataset verify",
    "dataset rollback 1 --reason x",
    "dataset export {out}",
    "model list",
    "model show abcd",
    "review status",
    "review quality b",
    "review reviewers list",
    "review reviewers add ada",
    "review serve",
    "review open b --round 0",
    "review export {out}",
    "review import {out}/answers.csv",
    "metrics",
    "report",
    "evaluate --out {out}",
    "train remover",
    "train discriminator",
    "ingest synthetic --count 1",
    "composite --attempts 1",
    "cycle --rounds 0",
    "round 1",
    "demo --rounds 0",
    "serve",
)


def write(workspace: Workspace, index: int = 0, samples: int = 1) -> None:
    ref = write_shard(
        workspace,
        stage="triplets",
        round=0,
        index=index,
        input_digest=f"work {index}",
        samples=[
            EncodedSample(f"key-{index}-{each}", {"json": b"{}"}, "s", "train") for each in range(samples)
        ],
    )
    create_version(workspace, [(ref, None)], None, "the first")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a shard; nobody writes here."""
    workspace = Workspace.open(tmp_path_factory.mktemp("sound") / "workspace")
    write(workspace, samples=ROWS)
    assert (workspace.root / "ledger.sqlite").stat().st_size > 50 * 4096
    assert not (workspace.root / "ledger.sqlite-wal").exists()
    return workspace.root


@pytest.fixture
def ledger(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The ledger's file in a copy of one's own."""
    shutil.copytree(sound, tmp_path / "workspace")
    monkeypatch.setenv("CLEANPLATE_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "workspace" / "ledger.sqlite"


def noise(file: Path) -> None:
    file.write_bytes(os.urandom(9_000))


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 8192 * 4096)


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def empty(file: Path) -> None:
    os.truncate(file, 0)


CASES = [(noise, command) for command in COMMANDS] + [
    (harm, command)
    for harm in (cut, folder, pipe, empty)
    for command in ("dataset verify", "ingest synthetic --count 1", "review status")
]


@pytest.mark.parametrize(("harm", "command"), CASES)
def test_a_lost_ledger_ends_a_command_with_a_sentence(
    harm: Callable[[Path], None], command: str, ledger: Path, tmp_path: Path
) -> None:
    harm(ledger)
    (tmp_path / "out").mkdir()
    result = CliRunner().invoke(app, command.format(out=tmp_path / "out").split())
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    words = " ".join(result.output.split())
    assert re.search(r"^cleanplate: .*ledger\.sqlite.*; restore it from a backup; without one", words)
    assert words.count("cleanplate:") == 1


def test_a_new_ledger_over_shards_is_told_and_verify_finds_them_orphaned(
    ledger: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ledger.unlink()
    looked = CliRunner().invoke(app, ["dataset", "list"])
    assert (looked.exit_code, "the ledger is missing, but shards are there" in looked.output) == (1, True)
    assert not ledger.exists(), "to look is not to begin anew"
    workspace = Workspace.open(ledger.parent)
    assert "was missing, so a new ledger was made; restore it from a backup" in capfd.readouterr().err
    faults = verify_dataset(workspace).faults
    assert {fault.kind for fault in faults} == {"orphaned"}
    assert any(fault.what.endswith(".tar") for fault in faults)
    Workspace.open(ledger.parent)
    assert capfd.readouterr().err == "", "it is told once"


def test_a_fresh_workspace_begins_without_a_word(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(Workspace.open(tmp_path / "fresh"))
    write(Workspace.open(tmp_path / "fresh"), 1)
    assert capfd.readouterr() == ("", "")


def test_another_new_ledger_named_over_shards_is_told(
    ledger: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLEANPLATE_LEDGER", f"sqlite:///{ledger.with_name('other.sqlite')}")
    Workspace.open(ledger.parent)
    assert "is new and lists none of the shards there" in capfd.readouterr().err
    Workspace.open(ledger.parent)
    assert capfd.readouterr().err == ""
