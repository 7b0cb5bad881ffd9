"""A real Prefect server as `cleanplate serve` sets it up, that can be killed and started again."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from flows.runtime.prefect_server import Server, free_port, is_ours, server_command
from tasks.storage.prefect_password import make_password


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
        self.server = Server(f"http://127.0.0.1:{self._port}/api", make_password(home))

    def __enter__(self) -> Self:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        ours = {
            "PREFECT_HOME": str(self._home),
            "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "deploy.event_order",
        }
        with (self._home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                server_command(self._port),
                env={**kept, **ours},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        until(lambda: is_ours(self.server))
        return self

    def __exit__(self, *_: object) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
