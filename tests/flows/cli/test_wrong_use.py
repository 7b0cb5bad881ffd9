"""Numbers, files and outputs that no command can use: a sentence and an exit code, and no waiting."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from typer.testing import CliRunner

from data_specs.shard import EncodedSample
from flows.cli.main import app
from flows.cli.options import LARGEST
from tasks.storage.dataset import create_version
from tasks.storage.shards import write_shard
from tasks.storage.workspace import Workspace

ROOT = Path(__file__).parents[3]
SAMPLES = 5_000


def all_commands(command: Any, words: tuple[str, ...] = (), parent: Any = None) -> Iterator[tuple[str, Any]]:
    """Every command with its words; lazy ones are imported."""
    context = command.make_context(command.name, [], parent=parent, resilient_parsing=True)
    real = context.command
    if not hasattr(real, "list_commands"):
        yield " ".join(words), real
        return
    for name in real.list_commands(context):
        yield from all_commands(real.get_command(context, name), (*words, name), context)


def test_every_whole_number_has_a_largest_that_the_ledger_can_hold() -> None:
    numbers = [
        (words, each)
        for words, command in all_commands(typer.main.get_command(app))
        for each in command.params
        if int in (kind := each.type_descriptor.annotation, *get_args(kind))
    ]
    assert len(numbers) > 50
    too_large = str(LARGEST + 1)
    for words, each in numbers:
        largest = each.max
        assert largest is not None, f"{words}: {each.name} has no largest"
        assert largest <= LARGEST, f"{words}: {each.name} takes {too_large}"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A version of 5,000 samples, and a second one of none of them."""
    place = Workspace.open(tmp_path / "workspace")
    refs = [
        write_shard(
            place,
            stage="triplets",
            round=0,
            index=index,
            input_digest=f"work {index}",
            samples=[
                EncodedSample(f"key-{index}-{each}", {"json": b"{}"}, "s", "train") for each in range(count)
            ],
        )
        for index, count in enumerate((SAMPLES, 1))
    ]
    create_version(place, [(refs[0], None)], None, "the first")
    create_version(place, [(refs[1], None)], 1, "another")
    monkeypatch.setenv("CLEANPLATE_WORKSPACE", str(place.root))
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    return place


@pytest.fixture
def bell() -> Iterator[None]:
    """Ends a test that waits."""

    def rung(_number: int, _frame: object) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, rung)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


WRONG = [
    (2, "dataset diff 1 99999999999999999999", "less than or equal to 2147483647"),
    (2, "dataset show 2147483648", "less than or equal to 2147483647"),
    (1, "dataset diff 1 2147483647", "version 2147483647"),
    (2, "cycle --config folder", "is a directory"),
    (2, "cycle --config pipe", "pipe is not a file"),
    (2, "report --config zero", "zero is not a file"),
    (1, "cycle --config latin", "latin: is not JSON"),
    (1, "cycle --config list", "list: is not a JSON object"),
    (1, "cycle --config digits", "digits: is not JSON"),
    (1, "cycle --config deep", "deep: is not JSON"),
    (1, "composite --config nul", "embedded null byte"),
    (2, "ingest meta-json pipe", "pipe is not a file"),
    (2, "ingest clip pipe", "pipe is not a file"),
    (2, "review import pipe.csv", "pipe.csv is not a file"),
    (1, "review import folder.csv", "folder.csv"),
    (1, "review serve --tls-cert words --tls-key words", "not a certificate and its key"),
    (1, "review serve --tls-cert folder --tls-key folder", "the file folder"),
    (1, "metrics --textfile /proc/x", "/proc/x: cannot be written"),
    (1, "review export /proc/x", "/proc/x"),
    (1, "dataset list --workspace words", "words"),
]


@pytest.mark.usefixtures("workspace", "bell")
@pytest.mark.parametrize(("code", "command", "told"), WRONG, ids=[command for _, command, _ in WRONG])
def test_what_cannot_be_used_is_said(code: int, command: str, told: str) -> None:
    for name in ("folder", "folder.csv"):
        Path(name).mkdir()
    for name in ("pipe", "pipe.csv"):
        os.mkfifo(name)
    Path("zero").symlink_to("/dev/zero")
    Path("latin").write_bytes(b'{"a": "caf\xe9"}')
    Path("list").write_text("[1]")
    Path("digits").write_text(f'{{"seed": {"9" * 5000}}}')
    Path("deep").write_text("[" * 100_000)
    Path("nul").write_text('{"pairs": [{"kind": "folder", "path": "a\\u0000b"}]}')
    Path("words").write_text("words")
    result = CliRunner().invoke(app, command.split())
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert (result.exit_code, told in " ".join(result.output.split())) == (code, True), result.output


def cleanplate(words: str, output: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "flows.cli.main", *words.split()]
    return subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.PIPE, text=True)


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize("words", ["dataset diff 1 2 --json", "dataset list", "dataset --help"])
def test_an_output_that_is_full_is_said_and_one_that_nobody_reads_is_not(words: str) -> None:
    with Path("/dev/full").open("w") as full:
        process = cleanplate(words, full)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert said.startswith("cleanplate: standard output cannot be written (No space left on device)")
    assert said.count("\n") == 1
    read_end, write_end = os.pipe()
    os.close(read_end)  # As `| head -0` does, but before anything is written, however busy the machine is.
    with os.fdopen(write_end, "w") as unread:
        process = cleanplate(words, unread)
    _, said = process.communicate(timeout=120)
    assert (process.returncode, said) == (1, "")
