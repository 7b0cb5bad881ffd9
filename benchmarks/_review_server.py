"""Run `cleanplate review serve` as a process that can be killed and restarted, for benchmarks and tests."""

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from flows.runtime.prefect_server import free_port
from tasks.storage.workspace import Workspace

_ROOT = Path(__file__).resolve().parents[1]
_STARTUP_SECONDS = 120


class ReviewServer:
    """`cleanplate review serve` as a process on one port."""

    def __init__(self, workspace: Path, batch: str, log: Path, *options: str) -> None:
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self._workspace, self._batch, self._log, self._options = workspace, batch, log, options
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = ["-m", "flows.cli.main", "review", "serve"]
        command += ["--batch", self._batch, "--port", str(self.port)]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, *command, "--workspace", str(self._workspace), *self._options],
                cwd=_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        deadline = time.monotonic() + _STARTUP_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the review server does not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def _answers(self) -> bool:
        try:
            with urlopen(self.address, timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False


@contextmanager
def review_server(workspace: Workspace, batch: str) -> Iterator[str]:
    """Serve a batch inside the context. Yields the page's address, which ends with a slash."""
    with tempfile.TemporaryDirectory() as folder:
        server = ReviewServer(workspace.root, batch, Path(folder) / "server.log")
        try:
            yield f"{server.address}/"
        finally:
            server.kill()
