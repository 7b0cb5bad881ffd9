"""Half-sent requests to the real server: they end, they lock nobody out, and they fill no log."""

import json
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from urllib.request import urlopen

import httpx
import pytest

from benchmarks._review_server import ReviewServer

OPEN_FILES, HALF_SENT = 256, 300
CSRF = "X-Cleanplate-CSRF"

PATIENT_FOR_A_SECOND = """
import tasks.review.middleware as connections
connections.REQUEST_SECONDS = 1.0
from flows.cli.main import app
app()
"""


@contextmanager
def open_files(most: int) -> Iterator[None]:
    """Processes that are started inside may open so many; this one may open as many as before afterwards."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def half_sent(port: int, begun: bytes) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=30)
    client.sendall(begun)
    return client


def head(length: int) -> bytes:
    return f"POST /api/answer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n\r\n".encode()


def test_more_half_sent_requests_than_open_files(asked: SimpleNamespace, tmp_path: Path) -> None:
    with open_files(OPEN_FILES):
        server = ReviewServer(asked.workspace.root, "b1", tmp_path / "log")
    held, kinds = [], (b"GET / HTTP/1.1\r\nHost: 127.0", head(4000) + b"{", b"")
    try:
        for number in range(HALF_SENT):
            held.append(half_sent(server.port, kinds[number % len(kinds)]))
            if number % 50 == 49:
                with urlopen(server.address, timeout=5) as answer:
                    assert answer.status == 200, f"with {number + 1} half-sent requests"
    finally:
        for each in held:
            each.close()
        server.kill()
    said = (tmp_path / "log").read_text().splitlines()
    assert [line for line in said if not line.startswith("review page: ")] == []


def until_listening(port: int) -> None:
    """The address is said a moment before."""
    for _ in range(600):
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the server does not listen")


@pytest.fixture
def impatient(asked: SimpleNamespace) -> Iterator[int]:
    """The port of a server that gives a request a second, instead of twenty."""
    command = [sys.executable, "-c", PATIENT_FOR_A_SECOND, "review", "serve", "--workspace"]
    running = subprocess.Popen(
        [*command, str(asked.workspace.root)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert running.stdout is not None
    try:
        port = int(running.stdout.readline().rstrip("/\n").rpartition(":")[2])
        until_listening(port)
        yield port
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
        running.stdout.close()


def ends(client: socket.socket) -> bytes:
    """What the server says until it hangs up; fails where it has not after ten seconds."""
    client.settimeout(10)
    heard = b""
    try:
        while said := client.recv(65_536):
            heard += said
    except ConnectionResetError:
        pass
    return heard


def drip(client: socket.socket) -> None:
    """A byte every tenth of a second, for ten seconds."""
    for _ in range(100):
        client.sendall(b"x")
        time.sleep(0.1)


def test_a_request_that_never_ends_is_dropped_however_slowly_it_comes(impatient: int) -> None:
    for begun in (b"", b"GET / HTTP/1.1\r\n", head(4000)):
        with half_sent(impatient, begun) as silent:
            assert ends(silent) == b""
    slow = half_sent(impatient, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
    with slow, pytest.raises(OSError, match=r"reset|[Bb]roken pipe"):
        drip(slow)


def test_a_connection_that_is_used_again_has_its_time_anew(impatient: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{impatient}", timeout=10) as client:
        for _ in range(3):
            assert client.get("/").status_code == 200
            time.sleep(0.7)
    whole = b"GET /api/state HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with half_sent(impatient, whole + whole[:20]) as client:
        time.sleep(0.3)
        client.sendall(whole[20:30])
        assert ends(client).count(b"HTTP/1.1 401") == 1, "the second one never came whole"


def test_half_an_answer_is_none(impatient: int, asked: SimpleNamespace) -> None:
    """Its JSON is whole already; the length says that more is to come."""
    with httpx.Client(base_url=f"http://127.0.0.1:{impatient}", headers={CSRF: ""}) as client:
        client.post("/api/session", json={"token": asked.ana}).raise_for_status()
        client.headers[CSRF] = client.get("/api/state").json()["csrf"]
        (item,) = client.post("/api/lease", json={"count": 1}).json()["items"]
        body = json.dumps({"lease": item["lease"], "decision": "yes", "seconds": 1}).encode()
        lines = [f"{name}: {value}" for name, value in client.headers.items() if name.startswith("x-")]
        lines.append("Cookie: " + "; ".join(f"{name}={value}" for name, value in client.cookies.items()))
        lines.append("Content-Type: application/json")
        lines.append(f"Content-Length: {len(body) + 10}")
        begun = "POST /api/answer HTTP/1.1\r\nHost: 127.0.0.1\r\n" + "\r\n".join(lines) + "\r\n\r\n"
        with half_sent(impatient, begun.encode() + body):
            time.sleep(0.3)
        time.sleep(1)  # It has hung up; what the server would still do, it has done.
        assert client.get("/api/state").json()["mine"]["answers"] == 0
        assert asked.ledger.reviews.all() == []
        with half_sent(impatient, begun.encode() + body + b" " * 10) as whole:
            assert whole.recv(65_536).startswith(b"HTTP/1.1 200")
        assert len(asked.ledger.reviews.all()) == 1
