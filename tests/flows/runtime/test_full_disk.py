"""A night on a disk that is really full: it stops with a sentence, and with more space it goes on."""

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from benchmarks._contents import contents_of, differences, left_overs
from benchmarks.crash import night_config
from data_specs.errors import DiskFullError
from flows.nightly.composites import nightly_compositing
from flows.runtime.prefect_server import local_prefect
from tasks.storage.dataset import verify_dataset
from tasks.storage.ledger import open_ledger
from tasks.storage.workspace import Workspace
from tests.facts import Facts

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
        shards.append(len(Workspace(place).ledger().shards.all()))
    assert 0 < shards[0] < shards[1] < shards[2], "each time it went on where it stood"
    resize("256m")
    nightly_compositing(night_config(place, NIGHT))
    nightly_compositing(night_config(tmp_path / "roomy", NIGHT))
    killed, unbroken = Workspace(place), Workspace(tmp_path / "roomy")
    assert differences(contents_of(unbroken), contents_of(killed)) == ([], [])
    assert verify_dataset(killed).clean


def fill(disk: Path) -> Path:
    """A file that takes all that is free."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        file.writelines(itertools.repeat(bytes(1 << 12)))
    return ballast


def test_a_ledger_that_cannot_be_opened_on_a_full_disk_is_not_waited_for(
    small_disk: tuple[Path, Callable[[str], None]],
) -> None:
    disk, _ = small_disk
    address = f"sqlite:///{disk / 'ledger.sqlite'}"
    open_ledger(address).results.record("shard", "kept", Facts({"n": 1}))
    ballast = fill(disk)
    with pytest.raises(DiskFullError, match=r"ledger\.sqlite: the disk is full: 0\.0 MB are free"):
        open_ledger(address).results.all("shard", Facts)
    ballast.unlink()
    assert open_ledger(address).results.all("shard", Facts) == [Facts({"n": 1})]


def test_no_server_is_started_on_a_disk_too_small_for_its_database(
    small_disk: tuple[Path, Callable[[str], None]],
) -> None:
    disk, _ = small_disk
    told = pytest.raises(
        DiskFullError, match=r"prefect: the disk is full: 2\.1 MB are free, and at least 16 MB are needed"
    )
    # Not a variable: the tests' own server stands in the settings.
    nobody = temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"})
    with nobody, told, local_prefect(disk / "prefect"):
        pass
    assert not (disk / "prefect" / "server.log").exists()


@pytest.mark.slow
@pytest.mark.parametrize("shard_samples", [1, 40])
def test_an_ingest_beside_its_own_server_ends_soon_and_goes_on_with_more_space(
    small_disk: tuple[Path, Callable[[str], None]], shard_samples: int
) -> None:
    disk, resize = small_disk
    resize("64m")
    words = ["ingest", "synthetic", "--count", "400", "--shard-samples", str(shard_samples)]
    command = [sys.executable, "-m", "flows.cli.main", *words, "--workspace", str(disk / "w")]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = {**kept, "PREFECT_API_URL": "http://127.0.0.1:9/api", "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    while len(list((disk / "w" / "shards").glob("*.tar"))) < 3:
        assert running.poll() is None
        time.sleep(0.1)
    ballast, began = fill(disk), time.monotonic()
    _, said = running.communicate(timeout=120)
    assert time.monotonic() - began < 60, "it waited for a full disk as for a lost network"
    assert running.returncode == 1
    sentence = said.splitlines()[-1]  # Prefect's logging may complain before.
    assert "cleanplate: " in sentence
    assert "disk is full" in sentence
    assert str(disk) in sentence
    assert "Traceback (most recent call last)" not in said
    ballast.unlink()
    subprocess.run(command, env=environment, check=True, timeout=300, stdout=subprocess.DEVNULL)
    workspace = Workspace.existing(disk / "w")
    assert sum(ref.samples for ref in workspace.ledger().shards.all()) == 400
    assert verify_dataset(workspace).clean
