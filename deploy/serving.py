"""Serving on one machine: a server if none answers, everything registered, workers, all kept alive."""

import fcntl
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from data_specs.errors import FlowError
from deploy.pools import POOLS
from deploy.register import register
from deploy.supervisor import KeptProcess
from flows import prefect_server
from flows.local_prefect import named_server, server_answers
from flows.progress import say
from tasks.workspace import Workspace

_STARTUP_SECONDS = 300
_WORKER_PATIENCE_SECONDS = 15
_SERVER_PATIENCE_SECONDS = 8
_LOOK_SECONDS = 0.5
_SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "DO_NOT_TRACK": "1",
    # The shortest that Prefect allows; the reaper listens for three of them.
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    "PREFECT_WORKER_QUERY_SECONDS": "5",
}

_SERVER_SETTINGS = {
    # Else a server that was killed answers no crash for a quarter of an hour.
    "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "deploy.event_order",
}


def serve(workspace: Workspace, ready: Callable[[str, bool], None]) -> None:
    """Serve until SIGINT or SIGTERM; then workers end first, so that they can still tell the server.

    Where another process serves this workspace, everything is registered again and nothing is started.

    Args:
        workspace: What the deployments work in.
        ready: Told the server's address, and whether this process keeps the workers, once all is up.

    Raises:
        FlowError: When a server elsewhere was named and does not answer, or ours does not start.
    """
    api, configured = named_server()
    home = workspace.root / "prefect"
    home.mkdir(exist_ok=True)
    environment = {
        **_SETTINGS,
        **os.environ,
        "PREFECT_API_URL": api,
        "PREFECT_HOME": str(home),
        "CLEANPLATE_WORKSPACE": workspace.address,
    }
    stop = _stop_on_signals()
    with _alone(home / "serve.lock") as alone:
        server = None if server_answers(api) else _server(api, configured, environment, home)
        workers = [_worker(pool, environment, home) for pool in POOLS] if alone else []
        try:
            if server is not None:
                server.start()
            _wait_for(api, server, stop)
            if not stop.is_set():
                register(api, workspace)
                ready(api.removesuffix("/api"), alone)
            while alone and not stop.wait(_LOOK_SECONDS):
                for process in [*([server] if server else []), *workers]:
                    process.look_after()
        finally:
            _end(workers, server)


def _server(api: str, configured: bool, environment: dict[str, str], home: Path) -> KeptProcess:
    place = urlsplit(api)
    if configured and place.hostname not in ("127.0.0.1", "localhost"):
        raise FlowError(f"no Prefect server answers at {api}; start it, or unset PREFECT_API_URL")
    script = str(Path(prefect_server.__file__))
    own = {**_SERVER_SETTINGS, **environment}
    own.pop("PREFECT_API_URL")
    command = [sys.executable, "-P", script, str(place.port or 4200)]
    return KeptProcess("Prefect server", command, own, home / "server.log")


def _worker(pool: str, environment: dict[str, str], home: Path) -> KeptProcess:
    name = f"cleanplate-{pool}-{socket.gethostname()}"
    words = ["worker", "start", "--pool", pool, "--type", "process", "--name", name]
    command = [sys.executable, "-m", "deploy.kept_process", *words]
    return KeptProcess(f"worker of pool {pool}", command, environment, home / f"worker-{pool}.log")


def _wait_for(api: str, server: KeptProcess | None, stop: threading.Event) -> None:
    deadline = time.monotonic() + _STARTUP_SECONDS
    while not server_answers(api) and not stop.wait(_LOOK_SECONDS):
        if server is not None:
            server.look_after()
        if time.monotonic() > deadline:
            raise FlowError(f"the Prefect server at {api} is not up after {_STARTUP_SECONDS} s")


def _end(workers: list[KeptProcess], server: KeptProcess | None) -> None:
    """All workers are asked first, and then waited for."""
    for worker in workers:
        worker.ask_to_end()
    for worker in workers:
        worker.stop(_WORKER_PATIENCE_SECONDS)
    if server is not None:
        server.stop(_SERVER_PATIENCE_SECONDS)


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()

    def told(_number: int, _frame: object) -> None:
        if not stop.is_set():
            say("stopping: workers first, then the server")
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, told)
    return stop


@contextmanager
def _alone(lock: Path) -> Iterator[bool]:
    """Whether nobody else serves here; the kernel frees the lock of who is killed."""
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
