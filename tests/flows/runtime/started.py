"""Starts a program as a user does, signals it, and sees what is left of it."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from benchmarks._processes import cpu_seconds
from flows.runtime.timely_end import kill

ROOT = Path(__file__).parents[3]
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

    def works_or_ends(self) -> bool:
        """Waits until it and what it started have used 8 s of processor; False when it ended well before."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                assert self.process.returncode == 0, self.output.read_text()[-3000:]
                return False
            with suppress(OSError):  # One may end meanwhile.
                if sum(cpu_seconds(pid) for pid in self._alive()) > 8:
                    return True
            time.sleep(0.1)
        raise AssertionError(self.output.read_text()[-3000:])

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
