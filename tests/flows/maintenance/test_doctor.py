"""What doctor finds, when something is missing and when nothing is."""

import importlib.metadata
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from flows.cli.main import app
from flows.maintenance import doctor as health
from models.diffusion.checkpoints import CHECKPOINTS


def test_packages_are_compared_with_what_is_stated() -> None:
    stated = ["pytest>=1", "pytest<1", "no-such-package-here", "ruff<0.0.1; extra == 'dev'"]
    found = [(each.name, each.state) for each in health.check_packages(stated)]
    assert found == [("pytest", "ok"), ("pytest", "missing"), ("no-such-package-here", "missing")]


def test_the_projects_own_requirements_are_read() -> None:
    names = [each.name for each in health.check_packages(health.stated_requirements())]
    assert {"prefect", "torch", "opencv-python"} <= set(names)
    assert "ruff" not in names


@pytest.mark.parametrize(
    ("version", "state"), [((3, 10, 9), "missing"), ((3, 11, 0), "ok"), ((3, 13, 1), "ok")]
)
def test_python(version: tuple[int, int, int], state: str) -> None:
    assert health.check_python(version).state == state


def test_base_weights(tmp_path: Path) -> None:
    assert health.check_base_weights(tmp_path).state == "missing"
    for part in ("unet", "vae"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "model.safetensors").write_bytes(bytes(1_500_000))
    found = health.check_base_weights(tmp_path)
    assert (found.state, found.found[:6]) == ("ok", "3.0 MB")


def test_the_detector_that_compositing_would_take(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", lambda name: f"8.4 of {name}")
    assert health.check_detector().found == "YOLO, of ultralytics 8.4 of ultralytics (AGPL-3.0)"
    monkeypatch.setattr(importlib.metadata, "version", absent)
    found = health.check_detector()
    assert (found.state, found.found) == ("note", "Grounding DINO")
    assert "pip install 'cleanplate[yolo]'" in found.fix
    monkeypatch.undo()
    monkeypatch.setattr(health, "check_detector", lambda: found)
    monkeypatch.setenv("COLUMNS", "200")
    assert found.fix in CliRunner().invoke(app, ["doctor"]).stdout, "brackets are shown"


def test_workspace_and_disk(tmp_path: Path) -> None:
    assert health.check_workspace(tmp_path / "not/made").state == "ok"
    assert not (tmp_path / "not").exists()
    (tmp_path / "file").touch()
    assert health.check_workspace(tmp_path / "file/below").state == "missing"
    assert health.check_disk(tmp_path / "not/made", 0).state == "ok"
    assert health.check_disk(tmp_path, 1e9).state == "missing"


def test_doctor_exits_with_1_where_something_needed_is_missing(tmp_path: Path) -> None:
    words = ["doctor", "--json", "--workspace", str(tmp_path), "--disk-gb", "1e9"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert told["well"] is False
    by_name = {each["name"]: each for each in told["checks"]}
    assert by_name["disk"]["state"] == "missing"
    assert by_name["disk"]["fix"]
    assert by_name["torch loads"]["state"] == "ok"


def test_a_store_is_asked_whether_it_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here nothing listens; tests/tasks/storage/object_store has a real one that does."""
    assert health.check_store(tmp_path) == []
    monkeypatch.setenv("CLEANPLATE_CACHE", str(tmp_path))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.delenv("CLEANPLATE_LEDGER", raising=False)
    result = CliRunner().invoke(app, ["doctor", "--json", "--workspace", "s3://plates/here"])
    by_name = {each["name"]: each for each in json.loads(result.stdout)["checks"]}
    assert (result.exit_code, by_name["store"]["state"]) == (1, "missing")
    assert by_name["store"]["found"].startswith("s3://plates/here: the store has not answered")
    assert "CLEANPLATE_LEDGER" in by_name["ledger"]["found"]


def test_the_ledgers_size_is_told_once_there_is_one(tmp_path: Path) -> None:
    assert health.check_ledger(tmp_path) == []
    assert list(tmp_path.iterdir()) == [], "looking made nothing"
    (tmp_path / "ledger.sqlite").write_bytes(bytes(1_500_000))
    (tmp_path / "ledger.sqlite-wal").write_bytes(bytes(600_000))
    [told] = health.check_ledger(tmp_path)
    assert (told.state, told.found) == ("ok", f"2.1 MB in {tmp_path / 'ledger.sqlite'}")


def test_an_address_of_no_bucket_is_wrong_use() -> None:
    result = CliRunner().invoke(app, ["doctor", "--workspace", "s3://"])
    assert (result.exit_code, "s3://bucket/prefix" in result.output) == (2, True)


def test_doctor_of_the_full_size_lists_what_to_fetch_and_what_is_cut_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    sdxl = next(each for each in CHECKPOINTS if each.name == "sdxl-inpainting")
    for name in sdxl.files:
        file = tmp_path / "weights" / sdxl.name / name
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file({"w": torch.zeros(4)}, file) if name.endswith(".safetensors") else file.write_text("{}")
    vae = tmp_path / "weights" / sdxl.name / "vae/diffusion_pytorch_model.safetensors"
    whole = vae.read_bytes()
    words = ["doctor", "--profile", "full", "--workspace", str(tmp_path), "--disk-gb", "0"]
    words += ["--weights", str(tmp_path / "weights")]

    def checks() -> dict[str, dict]:
        result = CliRunner().invoke(app, [*words, "--json"])
        assert result.exit_code == 1, "CLIP is not here"
        told = json.loads(result.stdout)
        assert told["trainings"] == [], "no GPU was named"
        return {each["name"]: each for each in told["checks"]}

    found = checks()
    assert found[sdxl.name]["state"] == "ok"
    clip = found["clip-vit-large-patch14"]
    assert (clip["state"], clip["found"][:8]) == ("missing", "not here")
    assert clip["fix"].startswith("hf download openai/clip-vit-large-patch14 --revision 32bd6428")
    vae.write_bytes(whole[:-3])
    damaged = checks()[sdxl.name]
    assert damaged["state"] == "missing"
    assert "vae/diffusion_pytorch_model.safetensors is truncated" in damaged["found"]

    page = CliRunner().invoke(app, words).stdout
    assert "Something necessary is missing; see above." in page
    (command,) = [line for line in page.splitlines() if line.startswith("hf download openai/clip")]
    assert command == clip["fix"], "one line, to be copied whole"
    wrong_words = {
        "'huge' is no profile; write tiny, full": ["--profile", "huge"],
        " abacus; choose": ["--profile", "full", "--gpu", "abacus"],
    }
    for sentence, wrong in wrong_words.items():
        result = CliRunner().invoke(app, ["doctor", "--workspace", str(tmp_path), *wrong])
        assert result.exit_code == 1
        assert sentence in result.output.replace("\n", " ")
