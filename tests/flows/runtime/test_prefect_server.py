"""Prefect without a server: the one that answers is used, else one of our own that keeps the runs."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from base64 import b64encode
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

from flows.runtime.prefect_server import how_to_look, local_prefect, server_answers

ROOT = Path(__file__).parents[3]
SCRIPT = """
import sys, time
from pathlib import Path
from prefect import flow, task
from flows.runtime.prefect_server import local_prefect

@task
def shard(number): return number

@flow(name="three-shards")
def three_shards():
    for number in range(3): shard(number)

with local_prefect(Path(sys.argv[1])) as hint:
    three_shards()
    if len(sys.argv) > 2:
        print("ran", flush=True)
        time.sleep(600)
print(hint)
"""


@pytest.mark.usefixtures("prefect_server")
def test_the_server_that_answers_is_used(tmp_path: Path) -> None:
    url = PREFECT_API_URL.value()
    assert url is not None
    assert server_answers(url)
    with local_prefect(tmp_path / "home") as hint:
        assert PREFECT_API_URL.value() == url
    assert hint == f"See the runs at {url.removesuffix('/api')}"
    assert not (tmp_path / "home").exists()


def test_a_port_that_is_silent_or_no_prefect_does_not_answer() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        assert not server_answers(f"http://127.0.0.1:{silent.getsockname()[1]}/api")
    assert not server_answers("no address")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def bare_environment() -> dict[str, str]:
    """No server is named, and none answers at the default's place."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return {**kept, "PREFECT_SERVER_API_PORT": str(free_port()), "PYTHONPATH": str(ROOT), "DO_NOT_TRACK": "1"}


def ask(url: str, what: str, password: str) -> list[dict]:
    basic = b64encode(password.encode()).decode()
    headers = {"content-type": "application/json", "authorization": f"Basic {basic}"}
    request = urllib.request.Request(f"{url}/{what}/filter", b"{}", headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


@pytest.mark.slow
def test_the_runs_are_there_when_the_server_is_started_as_told(tmp_path: Path) -> None:
    home, command = tmp_path / "a home", [sys.executable, "-c", SCRIPT]
    ran = subprocess.run(
        [*command, str(home)],
        env=bare_environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert ran.stdout.strip() == how_to_look(home)
    assert "ERROR" not in ran.stderr
    told = re.search("See the runs: PREFECT_HOME=(.*)$", ran.stdout, re.MULTILINE)
    assert told is not None
    place, *words = shlex.split(told[1])
    port = free_port()
    url, password = f"http://127.0.0.1:{port}/api", (home / "password").read_text().strip()
    server = subprocess.Popen(
        [*words, "--port", str(port)],
        env={**bare_environment(), "PREFECT_HOME": place},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        while not server_answers(url) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert [each["state_type"] for each in ask(url, "flow_runs", password)] == ["COMPLETED"]
        assert [each["state_type"] for each in ask(url, "task_runs", password)] == ["COMPLETED"] * 3
    finally:
        server.terminate()
        server.wait(30)


@pytest.mark.slow
def test_our_server_ends_even_when_its_starter_is_killed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = [sys.executable, "-c", SCRIPT, str(home), "stay"]
    starter = subprocess.Popen(command, env=bare_environment(), stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    assert starter.stdout.readline() == "ran\n"
    found = re.search(r"http://127\.0\.0\.1:\d+", (home / "server.log").read_text())
    assert found is not None
    assert server_answers(f"{found[0]}/api")
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    starter.stdout.close()
    deadline = time.monotonic() + 40
    while server_answers(f"{found[0]}/api"):
        assert time.monotonic() < deadline
        time.sleep(0.2)


DEAD_SERVER = """
import os, signal, sys, time
from pathlib import Path
from prefect.events import emit_event
from prefect.events.worker import EventsWorker
from flows.runtime.prefect_server import local_prefect
from flows.runtime.timely_end import descendants

with local_prefect(Path(sys.argv[1])):
    emit_event("made", resource={"prefect.resource.id": "shard"})
    EventsWorker.instance().wait_until_empty()
    for pid in descendants(os.getpid()):
        os.kill(pid, signal.SIGKILL)
    time.sleep(2)  # Until the client sees that its connection is closed.
    for _ in range(9):
        emit_event("made", resource={"prefect.resource.id": "shard"})
    print("gone", flush=True)
    raise KeyboardInterrupt
"""


@pytest.mark.slow
def test_nobody_waits_for_a_server_that_is_gone(tmp_path: Path) -> None:
    """Without a limit, Prefect tries ten times for each of the nine events, for more than a minute."""
    command = [sys.executable, "-c", DEAD_SERVER, str(tmp_path / "home")]
    running = subprocess.Popen(command, env=bare_environment(), stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert running.stdout.readline() == "gone\n"
    began = time.monotonic()
    assert running.wait(60) != 0
    assert time.monotonic() - began < 20
    running.stdout.close()
