"""Who may use our Prefect servers: nobody without the password, from another site, or by another name."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect, sync_playwright
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from yaml import safe_load

from flows.runtime.prefect_server import free_port, server_answers
from tests.deploy.written_commands import COMPOSE, ROOT
from tests.tasks.review.conftest import CHROMIUM_ARGUMENTS

TEMPORARY = """
import sys
from pathlib import Path
from prefect import flow
from prefect.settings import PREFECT_API_URL
from flows.runtime.prefect_server import local_prefect

@flow(name="seen-on-the-page")
def seen(): pass

with local_prefect(Path(sys.argv[1])):
    seen()
    print(PREFECT_API_URL.value(), flush=True)
    sys.stdin.read()
"""
SOCKETS = ("events/in", "events/out", "logs/out", "task_runs/subscriptions/scheduled")


@dataclass(frozen=True)
class Running:
    """A server and its password."""

    api: str
    password: str
    log: Path

    @property
    def place(self) -> str:
        return self.api.removeprefix("http://").removesuffix("/api")

    def post(self, headers: dict[str, str], password: str | None, body: str = "{}") -> httpx.Response:
        """What would list all runs."""
        given = {"content-type": "application/json", **headers}
        if password is not None:
            given["authorization"] = f"Basic {b64encode(password.encode()).decode()}"
        return httpx.post(f"{self.api}/flow_runs/filter", content=body, headers=given, timeout=60)


def bare() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return {**kept, "PREFECT_SERVER_API_PORT": str(free_port()), "PYTHONPATH": str(ROOT), "DO_NOT_TRACK": "1"}


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The server that a command starts for itself, with one run."""
    home = tmp_path_factory.mktemp("home")
    command = [sys.executable, "-c", TEMPORARY, str(home)]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=bare(), **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        api = process.stdout.readline().strip()
        yield Running(api, (home / "password").read_text().strip(), home / "server.log")
        process.stdin.close()


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The compose file's server with its settings, on loopback and a database in a file."""
    home, port, words = tmp_path_factory.mktemp("composed"), free_port(), "0123456789abcdef"
    service = safe_load(COMPOSE.read_text())["services"]["server"]
    given = {name: str(value) for name, value in service["environment"].items()}
    del given["PREFECT_SERVER_DATABASE_CONNECTION_URL"]
    asked = "${PREFECT_AUTH_STRING:?make one with openssl rand -hex 24}"
    given = {name: words if value == asked else value for name, value in given.items()}
    _, *command = ["127.0.0.1" if word == "0.0.0.0" else word for word in service["command"]]
    log = home / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command, "--port", str(port)],
            env={**bare(), **given, "PREFECT_HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    api, deadline = f"http://127.0.0.1:{port}/api", time.monotonic() + 120
    try:
        while not server_answers(api):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield Running(api, words, log)
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(params=["temporary", pytest.param("composed", marks=pytest.mark.slow)])
def server(request: pytest.FixtureRequest) -> Running:
    return request.getfixturevalue(request.param)


FOREIGN = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:9"},
    {"Host": "evil.example"},
    {"Host": "evil.example:4200"},
    {"Host": "127.0.0.1.evil.example"},
    {"Host": "127.0.0.1@evil.example"},
    {"Host": ""},
]


def test_who_has_no_password_or_a_wrong_one_gets_401(server: Running) -> None:
    for password in (None, "cleanplate:", "admin:pass", server.password[:-1], f"{server.password}x"):
        assert server.post({}, password).status_code == 401
    # What a page may send without asking first.
    assert server.post({"content-type": "text/plain"}, None).status_code == 401


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_another_site_and_another_name_get_403_even_with_the_password(
    server: Running, headers: dict[str, str]
) -> None:
    assert server.post(headers, server.password).status_code == 403
    asked = httpx.get(f"{server.api}/health", headers=headers, timeout=60)
    assert asked.status_code == 403


def test_another_site_is_not_allowed_to_ask(server: Running) -> None:
    """The browser's question before a request that needs one."""
    wants = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    asked = httpx.options(
        f"{server.api}/flow_runs/filter", headers={**wants, "Origin": "http://evil.example"}, timeout=60
    )
    assert asked.status_code == 403
    assert "access-control-allow-origin" not in asked.headers


def test_the_password_opens_and_probes_need_none(server: Running) -> None:
    _, _, port = server.place.rpartition(":")
    for headers in ({}, {"Origin": f"http://{server.place}"}, {"Host": f"localhost:{port}"}):
        assert server.post(headers, server.password).status_code == 200
    for probe in ("health", "ready"):
        assert httpx.get(f"{server.api}/{probe}", timeout=60).status_code == 200


def test_a_page_may_connect_to_its_own_server_only(temporary: Running) -> None:
    policy = httpx.get(f"http://{temporary.place}/", timeout=60).headers["content-security-policy"]
    directive, itself, *sources = policy.split()
    assert (directive, itself) == ("connect-src", "'self'")
    port = temporary.place.rpartition(":")[2]
    names = (f"127.0.0.1:{port}", f"localhost:{port}")
    assert set(sources) == {f"{scheme}://{name}" for scheme in ("http", "ws") for name in names}


def test_the_pages_of_the_other_name_of_this_machine_may_ask(temporary: Running) -> None:
    """The page at localhost asks the API at 127.0.0.1."""
    page = f"http://{temporary.place}".replace("127.0.0.1", "localhost")
    asked = temporary.post({"Origin": page}, temporary.password)
    assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (200, page)


def test_the_password_is_in_a_file_that_only_its_owner_reads_and_in_no_log(temporary: Running) -> None:
    file = temporary.log.with_name("password")
    assert file.stat().st_mode & 0o777 == 0o600
    said = temporary.log.read_text()
    assert str(file) in said
    assert temporary.password.partition(":")[2] not in said


def speak(server: Running, what: str, token: str | None, host: str | None = None, **how: Any) -> Any:
    """The server's answer to the first word on a socket of its.

    Raises:
        InvalidStatus: If it opens none.
        ConnectionClosed: If it closes it at once.
    """
    name, _, port = server.place.rpartition(":")
    wire = socket.create_connection((name, int(port)), timeout=60)
    address = f"ws://{host or server.place}/api/{what}"
    with connect(address, sock=wire, subprotocols=["prefect"], **how) as open_socket:  # pyright: ignore
        open_socket.send(json.dumps({"type": "auth", "token": token}))
        return json.loads(open_socket.recv(timeout=60))


@pytest.mark.parametrize("what", SOCKETS)
def test_the_sockets_want_the_password_too(server: Running, what: str) -> None:
    assert speak(server, what, server.password)["type"] == "auth_success"
    for token in (None, "", "admin:pass"):
        with pytest.raises(ConnectionClosed):
            speak(server, what, token)
    for how in ({"origin": "http://evil.example"}, {"host": "evil.example:4200"}):
        with pytest.raises(InvalidStatus, match="403"):
            speak(server, what, server.password, **how)


@pytest.mark.slow
def test_the_owner_signs_in_and_sees_the_runs(temporary: Running) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on PATH (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)
        page, elsewhere = browser.new_page(), list[str]()
        page.on("request", lambda asked: elsewhere.append(asked.url))
        page.goto(f"http://{temporary.place}")
        words = page.locator("input[type=password]")
        words.fill("a guess")
        words.press("Enter")
        expect(page.get_by_text("Invalid credentials")).to_be_visible(timeout=60_000)
        words.fill(temporary.password)
        words.press("Enter")
        page.get_by_role("link", name="Runs", exact=True).click(timeout=60_000)
        expect(page.get_by_text("seen-on-the-page").first).to_be_visible(timeout=60_000)
        page.goto(f"http://{temporary.place}/v2")
        page.wait_for_timeout(5_000)
        browser.close()
    own = (f"http://{temporary.place}/", "data:", "blob:")
    assert elsewhere
    assert [url for url in elsewhere if not url.startswith(own)] == []
