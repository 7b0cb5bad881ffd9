"""`cleanplate serve` as people start it: everything once, a run done, a worker back, a clean end."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.runtime.prefect_server import free_port
from tasks.storage.prefect_password import read_password

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 600
REGISTERED = "Everything is registered"


def until(what: Callable[[], Any]) -> Any:
    """What it gives once that is something."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := what()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.3)
    return found


class Serving:
    """A workspace and a port, served as often as one likes."""

    def __init__(self, place: Path) -> None:
        self.place, self.port = place, free_port()
        self.api = f"http://127.0.0.1:{self.port}/api"
        self.command = [sys.executable, "-m", "flows.cli.main", "serve", "--workspace", str(place)]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        self.environment = {
            **kept,
            "PREFECT_SERVER_API_PORT": str(self.port),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
        }
        self._started: list[subprocess.Popen[str]] = []

    @property
    def password(self) -> tuple[str, str]:
        """Of the served Prefect."""
        found = read_password(self.place / "prefect")
        assert found is not None
        name, _, words = found.partition(":")
        return name, words

    def start(self) -> subprocess.Popen[str]:
        """One that has registered everything."""
        process = subprocess.Popen(
            self.command,
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        assert process.stdout is not None
        said = process.stdout.readline()
        assert REGISTERED in said
        assert f"sign in with the password in {self.place / 'prefect' / 'password'}" in said
        return process

    def ask(self, what: str, **body: Any) -> Any:
        asked = httpx.post(f"{self.api}/{what}", json=body, timeout=120, auth=self.password)
        return asked.raise_for_status().json()

    def get(self, what: str) -> Any:
        asked = httpx.get(f"{self.api}/{what}", timeout=120, auth=self.password)
        return asked.raise_for_status().json()

    def counts(self) -> dict[str, int]:
        """How many there are of everything that serving makes."""
        kinds = ("deployments", "work_pools", "automations")
        found = {kind: self.ask(f"{kind}/filter") for kind in kinds}
        queues = [queue for pool in ("cpu", "gpu") for queue in self.ask(f"work_pools/{pool}/queues/filter")]
        schedules = sum(len(each["schedules"]) for each in found["deployments"])
        return {
            **{kind: len(each) for kind, each in found.items()},
            "queues": len(queues),
            "schedules": schedules,
        }

    def run_of(self, deployment: str, config: dict[str, Any]) -> str:
        """A run of a deployment once it has ended: its state."""
        known = self.get(f"deployments/name/{deployment}")
        run = self.ask(f"deployments/{known['id']}/create_flow_run", parameters={"config": config})

        def ended() -> str | None:
            state = self.get(f"flow_runs/{run['id']}")["state"]
            return state["name"] if state["type"] in ("COMPLETED", "FAILED", "CRASHED") else None

        return until(ended)

    def processes(self) -> list[int]:
        """All that was started for this workspace and still lives."""
        ours = {process.pid for process in self._started}
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
            except (OSError, ValueError):
                continue
            if int(session) in ours and state != "Z":
                found.append(int(stat.parent.name))
        return found

    def kill_all(self) -> None:
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        for process in self._started:
            process.wait()


def workers(serving: Serving) -> list[int]:
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in serving.processes()}
    return [pid for pid, command in commands.items() if b"deploy.supervisor" in command]


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    serving = Serving(tmp_path / "workspace")
    yield serving
    serving.kill_all()


@pytest.mark.slow
def test_no_page_and_nobody_else_makes_it_run_a_command(serving: Serving, tmp_path: Path) -> None:
    """Nor does its owner by mistake: a run's settings name no command."""
    first, harm = serving.start(), tmp_path / "harm"
    known = serving.get("deployments/name/retention/weekly")
    before = serving.ask("flow_runs/filter")
    body = {"job_variables": {"command": f"touch {harm}"}}
    said: dict[str, int] = {}
    for who, auth, headers in (
        ("nobody", None, {}),
        ("somebody", ("cleanplate", "guessed"), {}),
        ("a page", None, {"Origin": "http://evil.example"}),
        ("a page with the password", serving.password, {"Origin": "http://evil.example"}),
        ("a name", serving.password, {"Host": "evil.example"}),
        ("the owner", serving.password, {}),
    ):
        asked = f"{serving.api}/deployments/{known['id']}/create_flow_run"
        said[who] = httpx.post(asked, json=body, headers=headers, auth=auth, timeout=120).status_code
    assert said == {
        "nobody": 401, "somebody": 401, "a page": 403, "a page with the password": 403, "a name": 403,
        "the owner": 422,
    }  # fmt: skip
    config = {"workspace": str(serving.place)}
    assert serving.run_of("retention/weekly", config) == "Completed", "the worker is at work"
    assert len(serving.ask("flow_runs/filter")) == len(before) + 1
    assert not harm.exists()
    for log in serving.place.glob("prefect/*.log"):
        assert serving.password[1] not in log.read_text()
    first.send_signal(signal.SIGTERM)
    assert first.wait(180) == 0


def test_a_server_of_somebody_else_is_not_served(serving: Serving) -> None:
    """Whoever listens at our port first could give our workers any command."""
    with HTTPServer(("127.0.0.1", serving.port), Healthy) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        refused = subprocess.run(
            serving.command,
            cwd=ROOT,
            env=serving.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        other.shutdown()
    assert refused.returncode == 1
    assert "is not the one of" in refused.stderr
    assert "PREFECT_SERVER_API_PORT" in refused.stderr
    assert "Traceback" not in refused.stderr


class Healthy(BaseHTTPRequestHandler):
    """Says that it is well."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"true")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.mark.slow
def test_served_twice_everything_is_there_once_and_what_dies_is_back(serving: Serving) -> None:
    first = serving.start()
    counts = serving.counts()
    assert counts == {"deployments": 12, "work_pools": 2, "automations": 2, "queues": 8, "schedules": 6}
    assert serving.run_of("retention/weekly", {"workspace": str(serving.place)}) == "Completed"

    second = serving.start()
    assert second.wait(60) == 0, "the first one keeps the workers"
    assert serving.counts() == counts

    before = until(lambda: found if len(found := workers(serving)) == 2 else None)
    os.kill(before[0], signal.SIGKILL)
    until(lambda: len(now := workers(serving)) == 2 and now != before)

    first.send_signal(signal.SIGTERM)
    assert first.wait(180) == 0
    assert serving.processes() == []

    third = serving.start()
    assert serving.counts() == counts
    assert serving.run_of("retention/weekly", {"workspace": str(serving.place)}) == "Completed"
    third.send_signal(signal.SIGINT)
    assert third.wait(180) == 0
