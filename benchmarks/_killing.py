"""Run a flow as a process that can be watched from outside, and killed with all its children."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError, safe_open

from benchmarks._small_cycle import AT_WORK

SmallFlow = Literal["cycle", "compositing", "seeing"]
"""The flows that can be killed. Each is ``benchmarks/_small_NAME.py``."""
ROOT = Path(__file__).resolve().parents[1]
Progress = tuple[int, int]
"""Rows in the ledger, and steps in the newest checkpoint. It grows with the work, at any speed."""

_POLL_SECONDS = 0.1
_TABLES = (
    "shards",
    "pool_draws",
    "reviews",
    "scores",
    "models",
    "promotions",
    "results",
    "costs",
    "version_events",
)


class Attempt:
    """One start of a small flow in its own session."""

    def __init__(self, folder: Path, log: Path, flow: SmallFlow = "cycle") -> None:
        """Start it. Its output goes to ``log``."""
        self._folder, self._log = folder, log
        # Prefect gets the address of a server that does not answer, so the killed server is always our own.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PREFECT_API_URL": "http://127.0.0.1:9/api"}
        self._began = time.monotonic()
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"benchmarks._small_{flow}", str(folder)],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.at_work_after: float | None = None
        """Seconds of start-up. None until it is over."""

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    def watch(self, until: Callable[[Progress], bool]) -> bool:
        """Wait until the run is at work and has reached the progress. False if it ended before.

        Raises:
            SystemExit: If it failed.
        """
        while (code := self._process.poll()) is None:
            if self.at_work_after is None and AT_WORK in self._log.read_text(errors="replace"):
                self.at_work_after = self.seconds
            if self.at_work_after is not None and until(progress_of(self._folder)):
                return True
            time.sleep(_POLL_SECONDS)
        if code:
            raise SystemExit(f"the run failed:\n{self._log.read_text(errors='replace')[-4000:]}")
        return False

    def kill(self) -> None:
        """Send SIGKILL to the whole group at once, then to the rest of the session."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        while left := _session(self._process.pid):
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)


def progress_of(folder: Path) -> Progress:
    """The progress of a workspace. (0, 0) before its ledger exists."""
    return _rows(folder / "ledger.sqlite"), _checkpoint_steps(folder)


def _checkpoint_steps(folder: Path) -> int:
    """Steps in the newest checkpoint. 0 if there is none."""
    try:
        newest = max((folder / "models").glob("*.checkpoint.safetensors"), key=lambda p: p.stat().st_mtime_ns)
        with safe_open(newest, framework="numpy") as file:
            return int(file.metadata()["step"])
    except (ValueError, OSError, SafetensorError):
        return 0


def _rows(ledger: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:
            counts = " + ".join(f"(SELECT count(*) FROM {table})" for table in _TABLES)
            return int(connection.execute(f"SELECT {counts}").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def _session(leader: int) -> list[int]:
    """The living processes of a session, if the system can list them."""
    found: list[int] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if int(session) == leader and state != "Z":
            found.append(int(stat.parent.name))
    return found
