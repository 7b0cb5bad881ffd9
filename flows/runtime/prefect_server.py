"""A Prefect for one command: the server that answers, or one of our own on a database in the workspace."""

import logging
import os
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from data_specs.errors import CleanplateError, FlowError
from data_specs.tested_versions import require_tested
from flows.runtime.timely_end import told_to_end
from tasks.storage.atomic_files import disk_full, free_bytes, is_full
from tasks.storage.prefect_password import (
    make_password,
    password_file,
    password_for,
    proves,
    stated_password,
)

_STARTUP_SECONDS = 120
_STOP_SECONDS = 15
_DRAIN_SECONDS = 30
_DRAIN_SECONDS_HURRIED = 3
"""When a signal ends us, or the disk is full, which the server answers with errors."""
_MIN_BYTES = 16_000_000
"""Free disk at the start; the database of a new server has 2 MB, and 4 MB of changes beside it."""


@dataclass(frozen=True)
class Server:
    """A Prefect server that may be used."""

    api: str
    """Its API, which ends in /api."""
    password: str | None = field(repr=False)
    """None where it asks for none."""
    sign_in: str = ""
    """Where a person finds the password, to be put behind the address; empty where none is asked for."""

    def settings(self) -> dict[Any, Any]:
        """Prefect's settings for whoever calls it."""
        from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL

        return {PREFECT_API_URL: self.api, PREFECT_API_AUTH_STRING: self.password}

    def environment(self) -> dict[str, str]:
        """The same as variables, for processes."""
        password = {"PREFECT_API_AUTH_STRING": self.password} if self.password else {}
        return {"PREFECT_API_URL": self.api, **password}


@dataclass(frozen=True)
class NoServer:
    """No Prefect server may be used."""

    api: str
    silent: bool
    """Nobody answers there, so that one may be started."""
    reason: str
    """A sentence without its full stop; empty where nobody named a server and none answers."""


@contextmanager
def local_prefect(home: Path) -> Iterator[str]:
    """Flows run inside are kept by the server that Prefect's settings name, or by one of our own.

    Our own server has its pages too while it lasts; its database stays in ``home``.

    Args:
        home: Prefect's home for our own server; made where it is missing.

    Yields:
        How to look at the runs, in one or two lines to print.

    Raises:
        FlowError: When our own server does not start.
        DiskFullError: When our own server has no room to write, from the start or later.
        VersionError: If Prefect has a version that was not tested.
    """
    require_tested("prefect", "the end of a run")  # _flushed waits for Prefect's own queues.
    os.environ.setdefault("DO_NOT_TRACK", "1")  # Prefect's client asks for this before it reports its use.
    from prefect.settings import PREFECT_HOME, temporary_settings

    home = home.absolute()
    with _quiet_console():
        server_or_reason = find_server(home)
        if isinstance(server_or_reason, Server):
            with temporary_settings(server_or_reason.settings()), _flushed(None):
                yield f"See the runs at {_page(server_or_reason.api)}{server_or_reason.sign_in}"
            return
        refused = (
            f"{server_or_reason.reason}, so a temporary server was used." if server_or_reason.reason else ""
        )
        hint = refused + how_to_look(home)  # Before the settings state the password of our own.
        with (
            _own_server(home) as own,
            temporary_settings({PREFECT_HOME: home, **own.settings()}),
            _full_disk_told(home),
            _flushed(home),
        ):
            yield hint


def how_to_look(home: Path) -> str:
    """The command that shows the runs kept in ``home``, the address to open then, and how to sign in."""
    python = shlex.quote(sys.executable)
    return (
        f"See the runs: PREFECT_HOME={shlex.quote(str(home))} {python} -m flows.runtime.server_process\n"
        f"and open http://127.0.0.1:4200{sign_in(home)}"
    )


def find_server(home: Path) -> Server | NoServer:
    """The Prefect server that Prefect's settings name, or the one of ``home`` at Prefect's usual place.

    A server that nobody named is only used when it proves that it has the password of ``home``: whoever else
    listens at that place could make our workers run what it likes.

    Raises:
        InputError: If others can read the password of ``home``.
    """
    api, configured = named_server()
    stated = stated_password()
    if not server_answers(api):
        return NoServer(api, True, f"No Prefect server answers at {api}" if configured else "")
    password = stated or password_for(api, home)
    if password is not None and stated is None:
        return Server(api, password, sign_in(home))
    if not configured and stated is None:
        other = f"The Prefect server at {api} is not the one of {password_file(home).parent}"
        return NoServer(api, False, other)
    if _lets_in(api, password):
        return Server(api, password, sign_in(home) if stated else "")
    fault = "refuses the password in" if stated else "asks for a password; set"
    return NoServer(api, False, f"The Prefect server at {api} {fault} PREFECT_API_AUTH_STRING")


def sign_in(home: Path) -> str:
    """How a person signs in on the pages of our own server, to be put behind their address."""
    where = "PREFECT_API_AUTH_STRING" if stated_password() else password_file(home)
    return f"; sign in with the password in {where}"


def _lets_in(api: str, password: str | None) -> bool:
    request = urllib.request.Request(f"{api.rstrip('/')}/admin/version")
    if password:
        request.add_header("Authorization", f"Basic {b64encode(password.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status == 200
    except (OSError, ValueError):
        return False


def server_answers(url: str) -> bool:
    """Whether a Prefect server's API is alive at ``url`` (which ends in /api)."""
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=5) as answer:
            return answer.status == 200 and answer.read().strip() == b"true"
    except (OSError, ValueError):
        return False


def named_server() -> tuple[str, bool]:
    """The API that Prefect's settings name, and whether somebody set it (else it is our own's place)."""
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if settings.api.url:
        return settings.api.url, True
    return f"http://127.0.0.1:{settings.server.api.port}/api", False


def _page(api_url: str) -> str:
    return api_url.rstrip("/").removesuffix("/api")


@contextmanager
def _own_server(home: Path) -> Iterator[Server]:
    """A server on a free port, its database and its log in ``home``."""
    if free_bytes(home) < _MIN_BYTES:
        raise disk_full(home, _MIN_BYTES)
    password, port = stated_password() or make_password(home), free_port()
    log = home / "server.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            server_command(port),
            env=server_environment(home),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            process_group=0,  # A signal to ours is for us, who still have to tell it how the run ends.
        )
    try:
        own = Server(f"http://127.0.0.1:{port}/api", password)
        _wait_until_it_answers(process, own, log)
        yield own
    finally:
        _stop(process)


def server_command(port: int) -> list[str]:
    """Starts a server of our own on loopback that ends with its starter."""
    words = ["--host", "127.0.0.1", "--port", str(port), "--with-starter"]
    return [sys.executable, "-P", "-m", "flows.runtime.server_process", *words]


def server_environment(home: Path) -> dict[str, str]:
    """Ours, with the home of the server; another home may have another profile, so the password is told."""
    named = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    stated = stated_password()
    return {**named, "PREFECT_HOME": str(home), **({"PREFECT_API_AUTH_STRING": stated} if stated else {})}


def _wait_until_it_answers(process: subprocess.Popen[bytes], own: Server, log: Path) -> None:
    deadline = time.monotonic() + _STARTUP_SECONDS
    while not is_ours(own):
        if process.poll() is not None:
            raise FlowError(f"the temporary Prefect server ended during its start; see {log}")
        if time.monotonic() > deadline:
            raise FlowError(
                f"the temporary Prefect server has not started within {_STARTUP_SECONDS} s; see {log}"
            )
        time.sleep(0.2)


def is_ours(own: Server) -> bool:
    """Whether the server that was started for this answers, and nobody in its place."""
    proved = own.password is not None and proves(own.api, own.password)
    return (proved or stated_password() is not None) and server_answers(own.api)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert process.stdin is not None
    process.stdin.close()


@contextmanager
def _full_disk_told(home: Path) -> Iterator[None]:
    """Says that the disk is full where the server's answers were nothing but errors for that reason."""
    try:
        yield
    except CleanplateError:
        raise
    except Exception as error:
        if is_full(home):
            raise disk_full(home) from error
        raise


@contextmanager
def _flushed(home: Path | None) -> Iterator[None]:
    """At its end the server has the last events and logs; task runs are told to it as events.

    Args:
        home: Where our own server keeps them.
    """
    seconds = _DRAIN_SECONDS
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) or (home is not None and is_full(home)):
            seconds = _DRAIN_SECONDS_HURRIED
        raise
    finally:
        _drain(_DRAIN_SECONDS_HURRIED if told_to_end() else seconds)


def _drain(seconds: float) -> None:
    """Wait until Prefect's queues are sent; what is not sent by then is given up.

    When Python ends, Prefect waits for it without limit: where no server answers, ten tries for each event.
    """
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    deadline = time.monotonic() + seconds
    for kind in (EventsWorker, APILogWorker):
        queues = tuple(cast(Any, kind)._instances.values())
        kind.drain_all(timeout=max(0, deadline - time.monotonic()))
        for queue in queues:
            if queue._done_event is not None and not queue._done_event.is_set():
                queue._loop.call_soon_threadsafe(queue._done_event.set)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _quiet_console() -> Iterator[None]:
    """Prefect's own lines stay out of the terminal (its server keeps them); errors come as exceptions."""
    from prefect.logging.configuration import setup_logging

    setup_logging()
    handlers = list(logging.getLogger().handlers)
    for handler in handlers:
        handler.addFilter(_not_prefects)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(_not_prefects)


def _not_prefects(record: logging.LogRecord) -> bool:
    return not record.name.startswith("prefect")
