"""`cleanplate remove`, as people and machines use it."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from tasks.registry.champions import promote
from tasks.registry.store import BASE_FOLDER, record
from tasks.storage.workspace import Workspace

run = CliRunner().invoke


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``photos/`` with a, b and c; ``masks/`` with one of a, two of b; d has a mask only."""
    monkeypatch.chdir(tmp_path)
    for folder in ("photos", "masks"):
        Path(folder).mkdir()
    for name in "abc":
        ground = np.random.default_rng(0).integers(100, 156, (70, 90, 3), np.uint8)
        assert cv2.imwrite(f"photos/{name}.png", ground)
    for number, name in enumerate(("a", "b.1", "b.2", "d")):
        mask = np.zeros((70, 90), np.uint8)
        mask[30:50, 10 + 15 * number : 20 + 15 * number] = 255
        assert cv2.imwrite(f"masks/{name}.png", mask)
    return tmp_path


@pytest.mark.usefixtures("place")
def test_one_image_with_the_model_that_ships() -> None:
    words = ["remove", "photos/a.png", "masks/a.png", "-o", "out/a.png", "--compare", "--seed", "4"]
    first = run(app, words)
    assert first.exit_code == 0, first.output
    assert first.stdout == "wrote out/a.png out/a.compare.png\n"
    assert "using " in first.stderr
    assert cv2.imread("out/a.compare.png").shape == (70, 188, 3)  # pyright: ignore[reportOptionalMemberAccess]
    before = Path("out/a.png").read_bytes()
    assert run(app, words).exit_code == 0
    assert Path("out/a.png").read_bytes() == before, "one seed, one removal"
    assert run(app, [*words[:-1], "5"]).exit_code == 0
    assert Path("out/a.png").read_bytes() != before


@pytest.mark.usefixtures("place")
def test_where_the_shipped_object_clear_looked() -> None:
    words = [
        "remove",
        "photos/a.png",
        "masks/a.png",
        "-o",
        "out",
        "--model",
        "object-clear",
        "--save-attention",
    ]
    result = run(app, words)
    assert result.exit_code == 0, result.output
    assert result.stdout == "wrote out/a.png out/a.attention.png\n"
    attention = cv2.imread("out/a.attention.png", cv2.IMREAD_UNCHANGED)
    assert attention is not None
    assert (attention.shape, attention.dtype) == ((70, 90), np.uint8)
    assert attention.max() > 128


@pytest.mark.usefixtures("place")
def test_folders_write_what_can_be_done_list_the_rest_and_exit_with_1() -> None:
    assert cv2.imwrite("masks/c.png", np.zeros((70, 90), np.uint8))
    result = run(app, ["remove", "photos", "masks", "-o", "out", "--model", "telea", "--json"])
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert told["model_hash"] == "telea-3"
    assert [each["out"] for each in told["removals"]] == ["out/a.png", "out/b.png"]
    assert told["removals"][1]["masks"] == ["masks/b.1.png", "masks/b.2.png"]
    assert {each["name"]: each["reason"] for each in told["rejects"]} == {
        "c": "masks/c.png: mask is empty",
        "d": "file is missing (no image has the name of this mask)",
    }
    assert sorted(each.name for each in Path("out").iterdir()) == ["a.png", "b.png"]
    assert "refused c: masks/c.png: mask is empty\n" in result.stderr
    assert result.stderr.endswith("2 written, 2 refused\n")
    Path("photos/c.png").unlink()
    for name in "cd":
        Path(f"masks/{name}.png").unlink()
    assert run(app, ["remove", "photos", "masks", "-o", "out", "--model", "telea"]).exit_code == 0


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["-o", "a.gif"], "a.gif: images are written as PNG or JPEG; end the name in .png or .jpg"),
        (["-o", "photos/a.png"], "photos/a.png: the removal would overwrite its own image or mask"),
        (["-o", "o.png", "--model", "none"], "--model none: is unknown; name"),
        (
            ["-o", "o.png", "--model", "telea", "--steps", "3"],
            "telea: has neither steps nor a precision; leave out --steps and --precision",
        ),
        (
            ["-o", "o.png", "--model", "telea", "--save-attention"],
            "--save-attention: this remover",
        ),
        (["-o", "o.png", "--workspace", "nowhere"], "nowhere: there is no workspace here"),
    ],
)
def test_failures_are_one_sentence_and_write_nothing(words: list[str], sentence: str) -> None:
    before = sorted(Path().rglob("*"))
    result = run(app, ["remove", "photos/a.png", "masks/a.png", *words])
    assert result.exit_code == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith(f"cleanplate: {sentence}")
    assert sorted(Path().rglob("*")) == before


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    "words",
    [["photos/a.png"], ["photos/a.png", "masks/a.png"], ["photos/a.png", "-o", "x.png"]]
    + [["photos", "masks", "-o", "o", "--model", "telea", "--workspace", "w"]]
    + [["photos", "masks", "-o", "o", "--steps", "0"]],
)
def test_wrong_use_exits_with_2(words: list[str]) -> None:
    assert run(app, ["remove", *words]).exit_code == 2


@pytest.mark.usefixtures("place")
def test_a_model_of_a_workspace_by_its_hash_and_its_champion_without() -> None:
    workspace = Workspace.open("w")
    for hash, steps in (("abc1", 1), ("abd2", 4)):
        folder = workspace.models_dir / hash
        shutil.copytree(BASE_FOLDER, folder)
        settings = {"sampling": {"steps": steps}}
        facts = {"parent": None, "dataset_version": None, "metrics": {}, "settings": settings}
        record(workspace, kind="remover", model_hash=hash, folder=folder, **facts)
    promote(workspace, "remover", "abd2", "the better one")

    def removed(*model: str) -> tuple[str, bytes]:
        words = ["remove", "photos/a.png", "masks/a.png", "-o", "out.png", "--workspace", "w", *model]
        result = run(app, words)
        assert result.exit_code == 0, result.output
        return result.stderr, Path("out.png").read_bytes()

    said, by_hash = removed("--model", "abc1")
    assert "remover abc1 of w" in said
    said, by_champion = removed()
    assert "champion abd2 of w" in said
    assert by_hash != by_champion, "one step is not four"
    assert removed("--model", "abd2")[1] == by_champion
