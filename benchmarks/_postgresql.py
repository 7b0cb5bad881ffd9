"""Start a real PostgreSQL for a benchmark or test, on a socket in a temporary folder."""

import getpass
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def postgresql_programs() -> Path | None:
    """The folder of PostgreSQL's programs. None if they are not installed."""
    found = [path.parent for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))]
    on_path = shutil.which("initdb")
    if found:
        return found[-1]
    return None if on_path is None else Path(on_path).parent


@contextmanager
def postgresql(programs: Path) -> Iterator[str]:
    """Run a server. Yields SQLAlchemy's address with ``{database}`` in place of the database's name."""
    identity = _as_postgres()
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
        try:
            yield f"postgresql+psycopg://{user}@/{{database}}?host={folder}"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=True, **run)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as_postgres() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    return {"user": "postgres", "group": "postgres", "extra_groups": []}
