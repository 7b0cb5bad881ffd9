"""Killed or racing, the writers leave the bytes of an unbroken run."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.storage.dataset import verify_dataset
from tasks.storage.workspace import Workspace

ROOT = Path(__file__).parents[4]
SCRIPT = Path(__file__).with_name("writers.py")


def files(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((folder / "shards").iterdir())
    }


@pytest.mark.parametrize(("deed", "folder"), [("kill", "killed"), ("race", "raced")])
def test_the_bytes_are_those_of_an_unbroken_run(tmp_path: Path, deed: str, folder: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(SCRIPT), str(tmp_path), deed]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert files(tmp_path / folder) == files(tmp_path / "unbroken")
    assert len(files(tmp_path / "unbroken")) == 10 * 2 + 1  # tars, indexes, the lock
    tried, unbroken = (Workspace.open(tmp_path / name) for name in (folder, "unbroken"))
    assert tried.ledger().shards.all() == unbroken.ledger().shards.all()
    report = verify_dataset(tried)
    assert report.clean, report.faults
    assert (report.shards, report.samples) == (10, 80)
