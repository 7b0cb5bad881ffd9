"""A night on a disk that is really full: it stops with a sentence, and with more space it goes on."""

import subprocess
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest

from benchmarks._contents import contents_of, differences, left_overs
from benchmarks.crash import night_config
from data_specs.errors import DiskFullError
from flows.nightly_compositing import nightly_compositing
from tasks.dataset import verify_dataset
from tasks.workspace import Workspace

NIGHT = date(2026, 11, 26)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, Callable[[str], None]]]:
    """A folder on a disk of its own, and what changes its size; wants the right to mount."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this test may not mount a small disk")

    def resize(size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(place)], check=True)

    yield place, resize
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_a_full_disk_stops_a_night_and_more_space_lets_it_go_on(
    small_disk: tuple[Path, Callable[[str], None]], tmp_path: Path
) -> None:
    disk, resize = small_disk
    place, shards = disk / "workspace", list[int]()
    for size in ("2m", "4m", "6m"):
        resize(size)
        with pytest.raises(DiskFullError, match="free some space and start again"):
            nightly_compositing(night_config(place, NIGHT))
        assert left_overs(Workspace(place)) == [], "what was being written is gone"
        shards.append(len(Workspace(place).ledger().shards()))
    assert 0 < shards[0] < shards[1] < shards[2], "each time it went on where it stood"
    resize("256m")
    nightly_compositing(night_config(place, NIGHT))
    nightly_compositing(night_config(tmp_path / "roomy", NIGHT))
    killed, unbroken = Workspace(place), Workspace(tmp_path / "roomy")
    assert differences(contents_of(unbroken), contents_of(killed)) == ([], [])
    assert verify_dataset(killed).clean
