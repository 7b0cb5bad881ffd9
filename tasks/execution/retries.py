"""Retries: a shard's task is tried again when the network or a store was lost, and never for bad data."""

from typing import Any

import httpx
from prefect import Task
from prefect.client.schemas.objects import State, TaskRun

from data_specs.errors import StoreLostError, StoreSilentError

_DELAYS_SECONDS = [2, 8, 30, 60]
"""With the shortest jitter they bridge 66 s: a database that is started again, or fails over."""
_PASSING = (ConnectionError, TimeoutError, httpx.TransportError, StoreLostError, StoreSilentError)
"""What may be otherwise in half a minute. A full disk is none of these, nor is a file that cannot be read."""


def is_passing(error: object) -> bool:
    """Whether the same work may succeed a little later."""
    return isinstance(error, _PASSING)


def _try_again(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    return is_passing(state.result(raise_on_failure=False))


RETRY_LOST_NETWORK: dict[str, Any] = {
    "retries": len(_DELAYS_SECONDS),
    "retry_delay_seconds": _DELAYS_SECONDS,
    # Many workers that lost one store do not come back to it all at once.
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": _try_again,
}
"""Settings of a task that may be tried again; what it did before is found in the ledger."""
