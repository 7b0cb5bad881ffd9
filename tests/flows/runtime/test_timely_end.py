"""SIGTERM and SIGINT end every long command and every benchmark within 30 s, with all that they started.

The same command goes on afterwards and makes what an unbroken one makes.
"""

import json
import signal
import time
from pathlib import Path

import pytest

from benchmarks._contents import contents_of, differences, left_overs
from benchmarks._small_compositing import small_compositing
from flows.runtime.timely_end import GRACE_SECONDS
from tasks.storage.dataset import verify_dataset
from tasks.storage.workspace import Workspace
from tests.flows.runtime.started import (
    ROOT,
    START_SECONDS,
    Sender,
    Started,
    cleanplate,
    files,
    interrupt,
    like_timeout,
    once,
    twice,
)

BENCHMARKS = sorted(path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py"))


INGEST = ("ingest", "synthetic", "--count", "30", "--shard-samples", "1", "--size-px", "128")


@pytest.mark.parametrize(
    "send",
    [
        like_timeout,
        pytest.param(once, marks=pytest.mark.slow),
        pytest.param(twice, marks=pytest.mark.slow),
        pytest.param(interrupt, marks=pytest.mark.slow),
    ],
)
def test_an_ingest_ends_in_time_and_goes_on(send: Sender, tmp_path: Path) -> None:
    command = (*INGEST, "--workspace", "killed")
    running = cleanplate(tmp_path, *command)
    running.wait_until(files(tmp_path, "killed/shards/*.tar", 2))
    code = running.ends_in_time(send)
    assert code in (143, 130, -signal.SIGTERM), running.output.read_text()
    if send is not interrupt:
        assert "start the same command again" in running.output.read_text()
    killed = Workspace.existing(tmp_path / "killed")
    assert 0 < len(killed.ledger().shards.all()) < 30
    assert left_overs(killed) == []
    assert cleanplate(tmp_path, *command).process.wait(START_SECONDS) == 0
    assert verify_dataset(killed).clean
    assert sum(ref.samples for ref in killed.ledger().shards.all()) == 30
    if send is once:
        assert cleanplate(tmp_path, *INGEST, "--workspace", "unbroken").process.wait(START_SECONDS) == 0
        before, after = contents_of(Workspace.existing(tmp_path / "unbroken")), contents_of(killed)
        assert differences(before, after) == ([], [])


@pytest.mark.slow
@pytest.mark.parametrize("send", [interrupt, like_timeout])
def test_nobody_waits_for_the_shards_of_worker_processes(send: Sender, tmp_path: Path) -> None:
    """Each takes many minutes here. A worker is killed in the middle of one, and no other worker takes it."""
    small = small_compositing(tmp_path / "w").model_dump(mode="json", exclude={"workspace"})
    small["pairs"][0]["count"], small["backgrounds"][0]["scenes"] = 20, 10
    long = {"attempts": 200_000, "shard_attempts": 100_000, "shard_pairs": 10, "shard_backgrounds": 5}
    workers = {"kind": "processes", "count": 2}
    (tmp_path / "long.json").write_text(json.dumps({**small, **long, "workers": workers}))
    running = cleanplate(tmp_path, "composite", "--workspace", "w", "--config", "long.json")
    running.wait_until(files(tmp_path, "w/shards/*-composites-*.aside", 2))
    began = time.monotonic()
    assert running.ends_in_time(send) == (130 if send is interrupt else 143), running.output.read_text()
    assert time.monotonic() - began < GRACE_SECONDS, "it ended by itself, not by force"
    assert left_overs(Workspace.open(tmp_path / "w")) == []


LONG = {
    "demo": (("demo", "--workspace", "w", "--rounds", "0"), "w/shards/*.tar", 1),
    "composite": (("composite", "--workspace", "w", "--size-px", "128"), "w/shards/*.tar", 1),
    "train base": (("train", "base", "--out", "base"), "base.checkpoint*", 1),
    "train shipped-object-clear": (
        ("train", "shipped-object-clear", "--out", "oc"),
        "oc.work/shards/*.tar",
        1,
    ),
    "train perception": (("train", "perception", "--out", "p"), "p.work/*", 1),
    "serve": (("serve", "--workspace", "w"), "w/prefect/worker-*.log", 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_every_long_command_ends_in_time(name: str, tmp_path: Path) -> None:
    words, pattern, count = LONG[name]
    running = cleanplate(tmp_path, *words)
    running.wait_until(files(tmp_path, pattern, count))
    code = running.ends_in_time(like_timeout)
    assert code != 0 or name == "serve", "whoever serves is told to end, and ends well"


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_ends_in_time(name: str, tmp_path: Path) -> None:
    if name == "workers":
        pytest.importorskip("ray", reason="this benchmark measures Ray too")
    running = Started(tmp_path, f"benchmarks.{name}")
    if running.works_or_ends():
        assert running.ends_in_time(like_timeout) != 0


@pytest.mark.slow
def test_growth_ends_its_cycles(tmp_path: Path) -> None:
    """The signal does not reach them, and its pool would wait for them until all is ended by force."""
    running = Started(tmp_path, "benchmarks.growth", "--folder", "g")
    running.wait_until(files(tmp_path, "g/0-initial/shards/*.tar", 1))
    began = time.monotonic()
    assert running.ends_in_time(once) == 143, running.output.read_text()
    assert time.monotonic() - began < GRACE_SECONDS
