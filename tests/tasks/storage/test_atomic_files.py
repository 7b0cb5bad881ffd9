"""Aside files: published whole, swept when their writer is dead, kept while it lives."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.storage.atomic_files import (
    aside_path,
    is_abandoned,
    publish_if_absent,
    sweep_asides,
    write_durably,
    written_aside,
)

ROOT = Path(__file__).parents[3]
LEAVE_ONE = """
import sys
from pathlib import Path
from tasks.storage.atomic_files import aside_path
aside_path(Path(sys.argv[1])).write_text('half')
"""


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text("old")
    write_durably(path, b"new")
    assert path.read_bytes() == b"new"
    assert [each.name for each in tmp_path.iterdir()] == ["model.json"]


def test_a_name_is_given_once(tmp_path: Path) -> None:
    path = tmp_path / "000001.json"
    for data, expected in ((b"first", True), (b"second", False)):
        with written_aside(path, data) as aside:
            assert publish_if_absent(aside, path) is expected
    assert path.read_bytes() == b"first"
    assert len(list(tmp_path.iterdir())) == 1


def test_only_what_the_dead_left_is_swept(tmp_path: Path) -> None:
    mine = aside_path(tmp_path / "a.tar")
    mine.write_text("half")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", LEAVE_ONE, str(tmp_path / "b.tar")], env=environment, check=True)
    elsewhere = tmp_path / "c.tar.otherhost.1.0.00000000.aside"
    elsewhere.write_text("half")
    swept = sweep_asides(tmp_path)
    assert len(swept) == 1
    assert swept[0].startswith("b.tar.")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([mine.name, elsewhere.name])


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to tell processes apart")
def test_a_reused_process_number_does_not_protect(tmp_path: Path) -> None:
    parts = aside_path(tmp_path / "a.tar").name.split(".")
    parts[-3] = "1"  # when the process started
    assert is_abandoned(tmp_path / ".".join(parts))
