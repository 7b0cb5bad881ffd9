"""Lost stores and full disks end a flow with a sentence; the network is tried again, bad data never."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from prefect.client.schemas.objects import State
from pydantic import BaseModel

from data_specs.errors import (
    DiskFullError,
    InputError,
    LedgerError,
    StoreError,
    StoreLostError,
    StoreSilentError,
)
from flows.runtime.runs import fail_cleanly
from tasks.execution.shard_task import RETRY_LOST_NETWORK, is_passing


class Settings(BaseModel):
    error: int = 0


@flow(name="stopped")
@fail_cleanly
def stopped(config: Settings) -> int:
    """Ends as its setting says."""
    if config.error == -1:
        raise StoreLostError("the ledger at x cannot be reached")
    if config.error == -2:
        raise StoreSilentError("s3://x: the store has not answered")
    if config.error:
        raise OSError(config.error, os.strerror(config.error), "/data/shards/a.tar")
    return 7


def ended(error: int) -> State[Any]:
    state = stopped(Settings(error=error), return_state=True)  # pyright: ignore[reportCallIssue]
    assert isinstance(state, State)
    return state


@pytest.mark.usefixtures("prefect_server")
def test_a_lost_store_ends_as_crashed_and_a_full_disk_as_failed() -> None:
    assert ended(0).name == "Completed"
    lost = ended(-1)
    assert (lost.name, lost.message) == ("Crashed", "the ledger at x cannot be reached")
    silent = ended(-2)
    assert (silent.name, silent.message) == ("Crashed", "s3://x: the store has not answered")
    full = ended(errno.ENOSPC)
    assert full.name == "Failed"
    with pytest.raises(
        DiskFullError, match=r"^/data/shards/a\.tar: the disk is full \(No space left on device\); free"
    ):
        full.result()
    with pytest.raises(PermissionError):
        ended(errno.EACCES).result()


@flow(name="around")
@fail_cleanly
def around(config: Settings) -> int:
    """Another flow's work as a part of its own."""
    return stopped.fn(config) + 1


@pytest.mark.usefixtures("prefect_server")
def test_who_calls_a_flow_gets_the_error_itself() -> None:
    with pytest.raises(StoreSilentError, match=r"^s3://x: the store has not answered$"):
        stopped(Settings(error=-2))
    state = around(Settings(error=-2), return_state=True)  # pyright: ignore[reportCallIssue]
    assert isinstance(state, State)
    assert (state.name, state.message) == ("Crashed", "s3://x: the store has not answered")
    with pytest.raises(StoreLostError):
        stopped.fn(Settings(error=-1))
    assert around(Settings()) == 8


tries: list[str] = []


@task(**{**RETRY_LOST_NETWORK, "retry_delay_seconds": 0})
def trying(kind: str) -> int:
    """Fails twice, then gives how often it was tried."""
    tries.append(kind)
    if len(tries) < 3:
        raise {"network": ConnectionResetError(), "data": InputError("a.png", "is no image")}[kind]
    return len(tries)


@flow(name="trying")
def try_it(kind: str) -> int:
    """One task run."""
    return trying(kind)


@pytest.mark.usefixtures("prefect_server")
def test_the_network_is_tried_again_and_bad_data_is_not() -> None:
    assert try_it("network") == 3
    tries.clear()
    with pytest.raises(InputError):
        try_it("data")
    assert tries == ["data"]


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (TimeoutError(), True),
        (ConnectionRefusedError(), True),
        (StoreLostError("x"), True),
        (StoreSilentError("x"), True),
        (StoreError("refuses these credentials"), False),
        (LedgerError("x"), False),
        (OSError(errno.ENOSPC, "full"), False),
        (FileNotFoundError(Path("x")), False),
        (ValueError(), False),
        (None, False),
    ],
)
def test_what_passes_by_itself(error: object, passing: bool) -> None:
    assert is_passing(error) is passing
