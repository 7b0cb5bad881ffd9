"""A real Prefect server as `cleanplate serve` sets it up, that can be killed and started again."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from flows import prefect_server
from flows.local_prefect import free_port, server_answers


def until(what: Callable[[], bool]) -> None:
    """Wait for something that the server is to do."""
    deadline = time.monotonic() + 300
    while not what():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.2)


class OwnServer:
    """Serves while its block lasts, from the same database each time."""

    def __init__(self, home: Path) -> None:
        self._home, self._port = home, free_port()
        self.api = f"http://127.0.0.1:{self._port}/api"

    def __enter__(self) -> Self:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        ours = {
            "PREFECT_HOME": str(self._home),
            "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "deploy.event_order",
        }
        command = [sys.executable, "-P", str(prefect_server.__file__), str(self._port)]
        with (self._home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, env={**kept, **ours}, stdin=subprocess.PIPE, stdout=log, stderr=log
            )
        until(lambda: server_answers(self.api))
        return self

    def __exit__(self, *_: object) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
