"""`cleanplate evaluate`, as people and machines use it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.main import app

run = CliRunner().invoke


@pytest.fixture
def pairs(tmp_path: Path, write_pair) -> Path:
    for number in range(3):
        write_pair(tmp_path / "pairs", f"p{number}", number)
    (tmp_path / "pairs/mask/p1.png").unlink()
    return tmp_path / "pairs"


@pytest.mark.usefixtures("prefect_server")
def test_a_folder_is_evaluated_for_machines_and_for_people(
    tmp_path: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    words = ["evaluate", "--triplets", str(pairs), "--size-px", "32", "--out", str(tmp_path / "out")]
    machine = run(app, [*words, "--model", "telea", "--json"])
    assert machine.exit_code == 0, machine.output
    told = json.loads(machine.stdout)
    assert told["methods"][0]["images"] == 2
    assert told["rejects"] == {"file is missing": 1}
    assert set(told["methods"][0]["means"]) == {"psnr", "psnr_fg", "psnr_bg", "ssim"}

    people = run(app, [*words, "--model", "telea", "--model", "rorem"])
    assert people.exit_code == 0, people.output
    mean = told["methods"][0]["means"]["psnr_fg"]
    assert f"{mean['mean']:.2f} [{mean['low']:.2f}, {mean['high']:.2f}]" in people.stdout
    assert "Difference from telea, image by image" in people.stdout
    assert "ReMOVE+ is left out: no folder of metrics' weights is named" in people.stdout.replace("\n", " ")
    assert "refused: 1 × file is missing" in people.stdout
    tables = people.stdout.partition("CLIP is left out")[0]
    assert max(len(line.rstrip()) for line in tables.splitlines()) <= 80


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--workspace", "nowhere"], "there is no workspace here"),
        (["--triplets", ".", "--model", "telea"], "holds no folder source/"),
        (
            ["--triplets", "pairs", "--size-px", "32", "--metric-weights", "nowhere"],
            "this folder of metrics'",
        ),
        (
            ["--triplets", "pairs", "--size-px", "32", "--model", "lama"],
            "is unknown; name patch-match, object-clear, rorem, telea",
        ),
    ],
)
@pytest.mark.usefixtures("prefect_server", "pairs")
def test_what_is_not_there_exits_with_1_and_one_sentence(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(app, ["evaluate", *words])
    assert result.exit_code == 1
    assert said in result.output.replace("\n", " ")


@pytest.mark.parametrize(
    "words",
    [
        ["--split", "holiday"],
        ["--triplets", ".", "--split", "train"],
        ["--triplets", ".", "--origin", "clip:"],
        ["--triplets", "/nonexistent"],
        ["--model", "rorem", "--model", "x/rorem"],
    ],
)
def test_wrong_use_exits_with_2(words: list[str]) -> None:
    assert run(app, ["evaluate", *words]).exit_code == 2


def test_help_teaches() -> None:
    page = run(app, ["evaluate", "--help"]).output
    assert "Example: cleanplate evaluate --model telea --model champion" in page
    assert "docs/guides/evaluation.md" in page
