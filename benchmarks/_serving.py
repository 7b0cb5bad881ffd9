"""Run `cleanplate serve` on its own PostgreSQL, as processes that can be killed one by one."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun

from benchmarks._killing import ROOT
from benchmarks._processes import command_of
from data_specs.errors import CleanplateError
from flows.runtime.prefect_server import Server, free_port
from flows.runtime.timely_end import descendants
from tasks.storage.prefect_password import make_password
from tasks.storage.workspace import LEDGER_FILE, Workspace

Victim = Literal["flow", "worker", "server", "database"]
_MARKS: dict[Victim, str] = {
    "worker": "deploy.supervisor worker start --pool cpu",
    "server": "flows.runtime.server_process",
}
"""Parts of the command lines of our processes. A flow's process is known by its run."""
_STARTUP_SECONDS = 600
_LOOK_SECONDS = 0.5
_REAPER = {
    "heartbeat_window_seconds": 50,
    "pending_seconds": 240,
    "crashed_seconds": 30,
    "max_restarts": 1000,
}
"""Shorter than in daily use, so that a hundred kills fit into hours. Heartbeats come every 30 s."""
_REAPER_EVERY_SECONDS = 120


class Database:
    """A PostgreSQL on a loopback port that is restarted after it was killed."""

    def __init__(self, programs: Path) -> None:
        self._programs, self._port = programs, free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="cleanplate-crash-pg-", dir="/tmp"))
        self._as: dict[str, Any] = {"stdout": subprocess.DEVNULL, "cwd": "/"}
        if os.geteuid() == 0:
            shutil.chown(self._folder, "postgres", "postgres")
            self._as |= {"user": "postgres", "group": "postgres", "extra_groups": []}

    def __enter__(self) -> Self:
        self._run("initdb", "-D", self._data, "-U", "postgres", "-A", "trust")
        self.start()
        for name in ("ledger", "prefect"):
            words = ["-h", "127.0.0.1", "-p", str(self._port), "-U", "postgres", name]
            self._run("createdb", *words)
        return self

    def __exit__(self, *_: object) -> None:
        self._control("-m", "immediate", "stop")
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def address(self, driver: str, name: str) -> str:
        """SQLAlchemy's address of one of the databases."""
        return f"postgresql+{driver}://postgres@127.0.0.1:{self._port}/{name}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        # No socket file: its lock names a process that may still exist as a zombie.
        options = f"-c listen_addresses=127.0.0.1 -p {self._port} -c unix_socket_directories=''"
        self._control("-l", str(self._folder / "log"), "-o", options, "start")

    def kill(self) -> None:
        """Send SIGKILL to the server and all processes of its clients, then restart it."""
        postmaster = int(Path(self._data, "postmaster.pid").read_text().split()[0])
        everyone = [postmaster, *descendants(postmaster)]
        for pid in everyone:
            _kill(pid)
        while any(_state(pid) != "Z" for pid in everyone):
            time.sleep(0.05)
        Path(self._data, "postmaster.pid").unlink(missing_ok=True)
        self.start()

    def _control(self, *words: str) -> None:
        self._run("pg_ctl", "-D", self._data, "-w", "-t", "300", *words)

    def _run(self, program: str, *words: str) -> None:
        subprocess.run([str(self._programs / program), *words], check=True, **self._as)


class Served:
    """A workspace that is served until the block ends."""

    def __init__(self, place: Path, log: Path, database: Database) -> None:
        self._place, self.log, self._database = place, log, database
        port = free_port()
        Workspace.open(place)
        self.server = Server(f"http://127.0.0.1:{port}/api", make_password(place / "prefect"))
        # The workspace's own file names its ledger, so that every process finds it.
        (place / "ledger.sqlite").unlink()
        (place / LEDGER_FILE).write_text(database.address("psycopg", "ledger"))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        self._environment = {
            **kept,
            "PREFECT_SERVER_API_PORT": str(port),
            "PREFECT_API_DATABASE_CONNECTION_URL": database.address("asyncpg", "prefect"),
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "OMP_NUM_THREADS": "1",
        }

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "flows.cli.main", "serve", "--workspace", str(self._place)]
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=self._environment, stdin=subprocess.DEVNULL, stdout=output,
                stderr=output, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + _STARTUP_SECONDS
        while "Everything is registered" not in self.log.read_text(errors="replace"):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__(None, None, None)
                raise SystemExit(f"serving did not start:\n{self.log.read_text(errors='replace')[-4000:]}")
            time.sleep(_LOOK_SECONDS)
        self._hurry_the_reaper()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill whatever is left of it."""
        for pid in [self._process.pid, *descendants(self._process.pid)]:
            _kill(pid)
        self._process.wait()

    def stop(self) -> None:
        """Ask it to end, and wait."""
        self._process.terminate()
        self._process.wait(180)

    def workspace(self) -> Workspace:
        """The served workspace."""
        return Workspace.existing(self._place)

    def kill(self, victim: Victim, client: SyncPrefectClient, run: FlowRun) -> bool:
        """Send SIGKILL. False if the victim does not exist at this moment."""
        if victim == "database":
            self._database.kill()
            return True
        if victim == "flow":
            found = self._process_of(client, run)
        else:
            found = [pid for pid in descendants(self._process.pid) if _MARKS[victim] in command_of(pid)]
        for pid in found:
            _kill(pid)
        return bool(found)

    def _process_of(self, client: SyncPrefectClient, run: FlowRun) -> list[int]:
        """The run's process and its children. After a worker was killed, init is their parent."""
        try:
            known = client.read_flow_run(run.id)
        except httpx.HTTPError:
            return []
        running = known.state is not None and known.state.is_running()
        pid = int(known.infrastructure_pid or 0)
        return [pid, *descendants(pid)] if running and "prefect" in command_of(pid) else []

    def completed(self, client: SyncPrefectClient, run: FlowRun) -> bool:
        """Whether the run has completed. False while the server cannot answer."""
        try:
            state = client.read_flow_run(run.id).state
        except httpx.HTTPError:
            return False
        return state is not None and state.is_completed()

    def wait_for_work(self, client: SyncPrefectClient, run: FlowRun, patience: float) -> None:
        """Wait until the ledger has more rows than now, or the run has completed."""
        deadline, before = time.monotonic() + patience, self._rows()
        while self._rows() <= before and not self.completed(client, run):
            if time.monotonic() > deadline:
                raise SystemExit(f"the run did not go on in {patience:.0f} s; see {self.log}")
            time.sleep(_LOOK_SECONDS)

    def _rows(self) -> int:
        try:
            ledger = Workspace(self._place).ledger()
            return len(ledger.shards.all())
        except CleanplateError:
            return -1

    def _hurry_the_reaper(self) -> None:
        assert self.server.password is not None, "a workspace's server has one"
        name, _, words = self.server.password.partition(":")
        with httpx.Client(base_url=self.server.api, auth=(name, words), timeout=60) as client:
            found = client.get("/deployments/name/reaper/reaper").raise_for_status().json()
            schedule = found["schedules"][0]["id"]
            place = f"/deployments/{found['id']}"
            changes = {"schedule": {"interval": _REAPER_EVERY_SECONDS}}
            client.patch(f"{place}/schedules/{schedule}", json=changes).raise_for_status()
            client.patch(place, json={"parameters": {"config": _REAPER}}).raise_for_status()


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
