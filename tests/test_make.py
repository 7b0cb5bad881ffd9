"""What `make` would do, as make itself says it: which extras it installs, and from where."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def said(target: str, folder: Path, *settings: str) -> str:
    """The commands of a target in a clone where nothing is installed."""
    command = ["make", "-n", target, f"VENV={folder}/venv", f"CLEAN={folder}/clean", *settings]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def installs(target: str, folder: Path, *settings: str) -> list[str]:
    """What comes after the constraints in each call of pip."""
    lines = [line for line in said(target, folder, *settings).splitlines() if "pip install" in line]
    return [line.split("-c constraints.txt", 1)[1].strip() for line in lines]


def test_the_demo_installs_the_core_and_the_tests_the_rest(tmp_path: Path) -> None:
    assert installs("demo", tmp_path) == ["-e ."]
    assert installs("test", tmp_path) == ["-e '.[dev,docs,yolo]'"]
    assert installs("test-core", tmp_path)[0] == "."
    assert f"{tmp_path}/venv/bin/cleanplate demo" in said("demo", tmp_path)


def test_after_the_tests_the_demo_installs_nothing(tmp_path: Path) -> None:
    (tmp_path / "venv").mkdir()
    for stamp in (".installed", ".installed-dev"):
        (tmp_path / "venv" / stamp).touch()
    assert installs("demo", tmp_path) == installs("test", tmp_path) == []


def test_torch_comes_from_the_index_that_is_named(tmp_path: Path) -> None:
    index = "https://download.pytorch.org/whl/cpu"
    for target in ("demo", "test", "test-core", "test-wheel"):
        asked = installs(target, tmp_path, f"TORCH_INDEX={index}")
        assert asked
        assert all(each.startswith(f"--extra-index-url {index} ") for each in asked)
