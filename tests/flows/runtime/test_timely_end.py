"""SIGTERM and SIGINT end every long command and every benchmark within 30 s, with all that they started.

The same command goes on afterwards and makes what an unbroken one makes.
"""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks._contents import contents_of, differences, left_overs
from benchmarks._processes import cpu_seconds
from flows.runtime.timely_end import kill
from tasks.storage.dataset import verify_dataset
from tasks.storage.workspace import Workspace

ROOT = Path(__file__).parents[3]
BENCHMARKS = sorted(path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py"))
MARK = "CLEANPLATE_TEST_OF_SIGNALS"
LIMIT_SECONDS = 30
START_SECONDS = 600

Sender = Callable[[int], None]


def once(pid: int) -> None:
    os.kill(pid, signal.SIGTERM)


def like_timeout(pid: int) -> None:
    """`timeout` signals its child, and then the whole group: servers get it at the same time."""
    once(pid)
    os.killpg(pid, signal.SIGTERM)


def twice(pid: int) -> None:
    once(pid)
    time.sleep(1)
    if Path(f"/proc/{pid}").exists():
        once(pid)


def interrupt(pid: int) -> None:
    """Ctrl-C goes to the whole group."""
    os.killpg(pid, signal.SIGINT)


class Started:
    """A program in a session of its own; all that it starts carries its mark."""

    def __init__(self, folder: Path, *words: str) -> None:
        self._mark = f"{MARK}={uuid.uuid4().hex}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        # A server is named that does not answer, so that each starts its own.
        own = {"PREFECT_API_URL": "http://127.0.0.1:9/api", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        name, _, value = self._mark.partition("=")
        self.output = folder / f"{uuid.uuid4().hex}.out"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=folder,
                env={**kept, **own, name: value},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def wait_until(self, at_work: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not at_work():
            assert self.process.poll() is None, self.output.read_text()[-3000:]
            assert time.monotonic() < deadline, self.output.read_text()[-3000:]
            time.sleep(0.1)

    def ends_in_time(self, send: Sender) -> int:
        """Its exit code, once nothing of it is left; the rest is killed where the limit has passed."""
        began = time.monotonic()
        send(self.process.pid)
        try:
            code = self.process.wait(LIMIT_SECONDS)
            while self._alive() and time.monotonic() - began < LIMIT_SECONDS:
                time.sleep(0.1)
            assert self._alive() == [], "what it started is still there"
            return code
        finally:
            for pid in self._alive():
                kill(pid)
            self.process.wait()

    def _alive(self) -> list[int]:
        found = list[int]()
        for place in Path("/proc").glob("[0-9]*"):
            try:
                marked = self._mark.encode() in (place / "environ").read_bytes()
                zombie = (place / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            except OSError:
                continue
            if marked and not zombie:
                found.append(int(place.name))
        return found


def cleanplate(folder: Path, *words: str) -> Started:
    return Started(folder, "flows.cli.main", *words)


def files(folder: Path, pattern: str, count: int) -> Callable[[], bool]:
    return lambda: len(list(folder.glob(pattern))) >= count


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
    running = Started(tmp_path, f"benchmarks.{name}")
    pid = running.process.pid
    running.wait_until(lambda: cpu_seconds(pid) > 8)
    assert running.ends_in_time(like_timeout) != 0
