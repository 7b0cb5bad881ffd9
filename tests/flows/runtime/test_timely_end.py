"""SIGTERM and SIGINT end every long command and every benchmark within 30 s, with all that they started.

The same command goes on afterwards and makes what an unbroken one makes.
"""

import signal
from pathlib import Path

import pytest

from benchmarks._contents import contents_of, differences, left_overs
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
    assert 0 < len(killed.ledger().shards()) < 30
    assert left_overs(killed) == []
    assert cleanplate(tmp_path, *command).process.wait(START_SECONDS) == 0
    assert verify_dataset(killed).clean
    assert sum(ref.samples for ref in killed.ledger().shards()) == 30
    if send is once:
        assert cleanplate(tmp_path, *INGEST, "--workspace", "unbroken").process.wait(START_SECONDS) == 0
        before, after = contents_of(Workspace.existing(tmp_path / "unbroken")), contents_of(killed)
        assert differences(before, after) == ([], [])


LONG = {
    "demo": (("demo", "--workspace", "w", "--rounds", "0"), "w/shards/*.tar", 1),
    "composite": (("composite", "--workspace", "w", "--size-px", "128"), "w/shards/*.tar", 1),
    "train base": (("train", "base", "--out", "base"), "base.checkpoint*", 1),
    "train object-clear": (("train", "object-clear", "--out", "oc"), "oc.work/shards/*.tar", 1),
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
