"""A Prefect for one command: the server that answers, or one of our own on a database in the workspace."""

import logging
import os
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_specs.errors import CleanplateError, FlowError
from tasks.disk import disk_full, free_bytes, is_full

_STARTUP_SECONDS = 120
_STOP_SECONDS = 15
_DRAIN_SECONDS = 30
_DRAIN_SECONDS_HURRIED = 3
"""When a signal ends us, or the disk is full, which the server answers with errors."""
_LEAST_BYTES = 16_000_000
"""Free disk at the start; the database of a new server has 2 MB, and 4 MB of changes beside it."""
_SERVER = Path(__file__).with_name("prefect_server.py")
_OWN_SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
}


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
    """
    os.environ.setdefault("DO_NOT_TRACK", "1")  # Prefect's client asks for this before it reports its use.
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    with _quiet_console():
        url, configured = named_server()
        if server_answers(url):
            with temporary_settings({PREFECT_API_URL: url}), _flushed(None):
                yield f"See the runs at {_page(url)}"
            return
        missing = f"No Prefect server answers at {url}, so a temporary one was used.\n" if configured else ""
        home = home.absolute()
        with (
            _own_server(home) as own,
            temporary_settings({PREFECT_HOME: home, PREFECT_API_URL: own}),
            _full_disk_told(home),
            _flushed(home),
        ):
            yield missing + how_to_look(home)


def how_to_look(home: Path) -> str:
    """The command that shows the runs kept in ``home``, and the address to open then."""
    python = shlex.quote(sys.executable)
    return (
        f"See the runs: PREFECT_HOME={shlex.quote(str(home))} {python} -m prefect server start\n"
        "and open http://127.0.0.1:4200"
    )


def server_answers(url: str) -> bool:
    """Whether a Prefect server's API is alive at ``url`` (which ends in /api)."""
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=5) as answer:
            return answer.status == 200 and answer.read().strip() == b"true"
    except (OSError, ValueError):
        return False


def named_server() -> tuple[str, bool]:
    """The API that Prefect's settings name, and whether somebody set it (else it is the default's place)."""
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if settings.api.url:
        return settings.api.url, True
    return f"http://{settings.server.api.host}:{settings.server.api.port}/api", False


def _page(api_url: str) -> str:
    return api_url.rstrip("/").removesuffix("/api")


@contextmanager
def _own_server(home: Path) -> Iterator[str]:
    """A server on a free port, its database and its log in ``home``; gives the API's address."""
    home.mkdir(parents=True, exist_ok=True)
    if free_bytes(home) < _LEAST_BYTES:
        raise disk_full(home, _LEAST_BYTES)
    port = free_port()
    named = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    log = home / "server.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", str(_SERVER), str(port)],
            env={**named, **_OWN_SETTINGS, "PREFECT_HOME": str(home)},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            process_group=0,  # A signal to ours is for us, who still have to tell it how the run ends.
        )
    try:
        url = f"http://127.0.0.1:{port}/api"
        _wait_until_it_answers(process, url, log)
        yield url
    finally:
        _stop(process)


def _wait_until_it_answers(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _STARTUP_SECONDS
    while not server_answers(url):
        if process.poll() is not None:
            raise FlowError(f"the temporary Prefect server ended at once; {log} says why")
        if time.monotonic() > deadline:
            raise FlowError(f"the temporary Prefect server is not up after {_STARTUP_SECONDS} s; see {log}")
        time.sleep(0.2)


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
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    seconds = _DRAIN_SECONDS
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) or (home is not None and is_full(home)):
            seconds = _DRAIN_SECONDS_HURRIED
        raise
    finally:
        EventsWorker.drain_all(timeout=seconds)
        APILogWorker.drain_all(timeout=seconds)


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
