"""Serve on one machine: start a server if none answers, register everything, and keep the workers alive."""

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
from data_specs.tested_versions import require_tested
from deploy.process_worker import WORKER_TYPE
from deploy.register import POOLS, register
from deploy.supervisor import KeptProcess
from flows.runtime.prefect_server import (
    NoServer,
    Server,
    find_server,
    is_ours,
    server_command,
    server_environment,
    sign_in,
)
from flows.runtime.shards import say
from tasks.storage.prefect_password import make_password, stated_password
from tasks.storage.workspace import Workspace

_STARTUP_SECONDS = 300
_WORKER_PATIENCE_SECONDS = 15
_SERVER_PATIENCE_SECONDS = 8
_LOOK_SECONDS = 0.5
_SETTINGS = {
    "DO_NOT_TRACK": "1",
    # The shortest interval that Prefect allows. The reaper waits for three heartbeats.
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    "PREFECT_WORKER_QUERY_SECONDS": "5",
}

_SERVER_SETTINGS = {
    # Without this a server that was killed reacts to no crash for a quarter of an hour.
    "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "deploy.event_order",
}


def serve(workspace: Workspace, profile: str, ready: Callable[[str, str, bool], None]) -> None:
    """Serve until SIGINT or SIGTERM. Then the workers end first, so that they can still report to the server.

    If another process serves this workspace, everything is registered again and nothing is started.

    Args:
        workspace: The workspace of the deployments.
        profile: The profile of the deployments that train or remove.
        ready: Called when all runs, with the server's address, how to sign in there (a text to append), and
            whether this process keeps the workers.

    Raises:
        FlowError: If the answering server may not be used, a named remote server does not answer, or our own
            server does not start.
        InputError: If others can read the password of the workspace's server.
        VersionError: If Prefect has a version that was not tested.
    """
    require_tested("prefect", "`cleanplate serve`")  # Our order of events and our worker build on it.
    home = workspace.root / "prefect"
    home.mkdir(exist_ok=True)
    server_or_reason = find_server(home)
    server = (
        _own_server(server_or_reason, home) if isinstance(server_or_reason, NoServer) else server_or_reason
    )
    kept = None if server is server_or_reason else _kept_server(server, home)
    if server.password is None:
        say(
            f"The Prefect server at {server.api} has no password: anyone who reaches it can run "
            "commands here."
        )
    environment = {
        **_SETTINGS,
        **os.environ,
        **server.environment(),
        "PREFECT_HOME": str(home),
        "CLEANPLATE_WORKSPACE": workspace.address,
    }
    stop = _stop_on_signals()
    with _alone(home / "serve.lock") as alone:
        workers = [_worker(pool, environment, home) for pool in POOLS] if alone else []
        try:
            if kept is not None:
                kept.start()
                _wait_for(server, kept, stop)
            if not stop.is_set():
                register(server, workspace, profile)
                ready(server.api.removesuffix("/api"), server.sign_in, alone)
            while alone and not stop.wait(_LOOK_SECONDS):
                for process in [*([kept] if kept else []), *workers]:
                    process.look_after()
        finally:
            _end(workers, kept)


def _own_server(failure: NoServer, home: Path) -> Server:
    """The server to start if none answers.

    Raises:
        FlowError: If an answering server may not be used, or the named server is remote.
    """
    if not failure.silent:
        raise FlowError(
            f"{failure.reason}; end it, or set PREFECT_API_URL and PREFECT_API_AUTH_STRING to use it, or "
            "set PREFECT_SERVER_API_PORT to another port"
        )
    if failure.reason and urlsplit(failure.api).hostname not in ("127.0.0.1", "localhost"):
        raise FlowError(f"no Prefect server answers at {failure.api}; start it, or unset PREFECT_API_URL")
    return Server(failure.api, stated_password() or make_password(home), sign_in(home))


def _kept_server(server: Server, home: Path) -> KeptProcess:
    own = {**_SETTINGS, **_SERVER_SETTINGS, **server_environment(home)}
    command = server_command(urlsplit(server.api).port or 4200)
    return KeptProcess("Prefect server", command, own, home / "server.log")


def _worker(pool: str, environment: dict[str, str], home: Path) -> KeptProcess:
    name = f"cleanplate-{pool}-{socket.gethostname()}"
    words = ["worker", "start", "--pool", pool, "--type", WORKER_TYPE, "--name", name]
    command = [sys.executable, "-m", "deploy.supervisor", *words]
    return KeptProcess(f"worker of pool {pool}", command, environment, home / f"worker-{pool}.log")


def _wait_for(server: Server, kept: KeptProcess, stop: threading.Event) -> None:
    deadline = time.monotonic() + _STARTUP_SECONDS
    while not is_ours(server) and not stop.wait(_LOOK_SECONDS):
        kept.look_after()
        if time.monotonic() > deadline:
            raise FlowError(
                f"the Prefect server at {server.api} has not started within {_STARTUP_SECONDS} s; see its "
                "log in the workspace"
            )


def _end(workers: list[KeptProcess], server: KeptProcess | None) -> None:
    """Ask all workers to end first, then wait for them."""
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
    """Whether no other process serves here. The kernel frees the lock of a killed process."""
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
