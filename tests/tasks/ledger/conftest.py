"""Ledgers on SQLite and on a real PostgreSQL, which is skipped where its programs are not found."""

import getpass
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tasks.ledger import Ledger, open_ledger


def _programs() -> Path:
    found = [path.parent for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))]
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        pytest.skip("PostgreSQL's initdb is neither in /usr/lib/postgresql/*/bin nor on PATH")
    return found[-1] if found else Path(str(on_path)).parent


def _as_postgres() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    return {"user": "postgres", "group": "postgres", "extra_groups": []}


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The address of a server on a socket of its own, without a database name."""
    pytest.importorskip("psycopg", reason="the PostgreSQL driver psycopg is not installed")
    programs, identity = _programs(), _as_postgres()
    folder = Path(tempfile.mkdtemp(prefix="cleanplate-pg-", dir="/tmp"))
    user = "postgres" if identity else getpass.getuser()
    if identity:
        shutil.chown(folder, "postgres", "postgres")
    run: dict[str, Any] = {"stdout": subprocess.DEVNULL, "cwd": "/", **identity}
    data = str(folder / "data")
    control = [str(programs / "pg_ctl"), "-D", data, "-w"]
    try:
        subprocess.run([str(programs / "initdb"), "-D", data, "-U", user, "-A", "trust"], check=True, **run)
        options = f"-c listen_addresses='' -c unix_socket_directories='{folder}'"
        subprocess.run([*control, "-l", str(folder / "log"), "-o", options, "start"], check=True, **run)
        yield f"postgresql+psycopg://{user}@/{{database}}?host={folder}"
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, **run)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    admin = sa.create_engine(postgres_server.format(database="postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    yield postgres_server.format(database=name)
    with admin.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    admin.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def ledger(ledger_url: str) -> Ledger:
    return open_ledger(ledger_url)
