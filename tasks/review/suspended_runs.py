"""Find the flow runs that wait for a batch, and resume them once it is answered.

The ledger decides, not Prefect's events. A run is resumed through Prefect's API, again and again until it
continues. No order of answers, kills and restarts can then leave it suspended.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.events import Event
from prefect.events.schemas.events import Resource
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from pydantic import BaseModel, ConfigDict

from data_specs.errors import FlowError
from data_specs.keys import derive_key
from data_specs.review_batch import BatchEventKind, Ending
from tasks.storage.prefect_password import password_for
from tasks.storage.workspace import Workspace

COMPLETE_EVENT = "review.batch-complete"
_PATIENCE_SECONDS = 15

RunState = Literal["resumed", "refused", "busy", "over", "unreachable"]
"""``busy``: it runs, or waits for something else. ``over``: it ended or is gone."""


class WaitingRun(BaseModel):
    """A flow run that said it would wait for a batch."""

    model_config = ConfigDict(frozen=True)

    flow_run: UUID
    api: str
    """Prefect's API as the run reached it."""


class SentEvent(BaseModel):
    """An event that a Prefect server has got."""

    model_config = ConfigDict(frozen=True)

    event: str
    payload: dict[str, Any]


class Wake(BaseModel):
    """The result of resuming one waiting run."""

    model_config = ConfigDict(frozen=True)

    flow_run: UUID
    state: RunState
    detail: str = ""


def remember_waiting(workspace: Workspace, batch: str, run: WaitingRun) -> None:
    """Called before the run suspends. The completed batch then knows which run to resume."""
    workspace.ledger().results.record("suspended_run", str(run.flow_run), run, run=batch)


def waiting_runs(workspace: Workspace, batch: str) -> list[WaitingRun]:
    """All runs that ever waited for the batch, in order."""
    return workspace.ledger().results.all("suspended_run", WaitingRun, run=batch)


def pause_key(batch: str, extensions: int) -> str:
    """The name of one suspension. Prefect lets each name suspend once."""
    return f"{batch}-{extensions}"


def wake_runs(workspace: Workspace, batch: str, form: dict[str, Any]) -> list[Wake]:
    """Resume every run that is suspended for the batch. Repeating it is harmless.

    Args:
        workspace: Its ledger names the runs.
        batch: The batch.
        form: What a person would have filled in: ``{"decision": "continue"}`` …
    """
    return [_wake(workspace, run, batch, form) for run in waiting_runs(workspace, batch)]


def tell_complete(workspace: Workspace, batch: str, counts: dict[str, Any]) -> None:
    """Send ``review.batch-complete`` to each Prefect with a waiting run. The derived id makes it one event.

    Raises:
        httpx.HTTPError: If a server cannot be reached; try again later.
    """
    ledger = workspace.ledger()
    for api in sorted({run.api for run in waiting_runs(workspace, batch)}):
        if ledger.results.get("event", api, SentEvent, run=batch) is None:
            event = Event(
                event=COMPLETE_EVENT,
                resource=Resource({"prefect.resource.id": f"cleanplate.review-batch.{batch}"}),
                payload={"batch": batch, **counts},
                id=UUID(derive_key(COMPLETE_EVENT, f"{batch} at {api}").ljust(32, "0")),
            )
            with _client(workspace, api) as client:
                client.request("POST", "/events", json=[event.model_dump(mode="json")]).raise_for_status()
            ledger.results.record("event", api, SentEvent(event=COMPLETE_EVENT, payload=counts), run=batch)


def _wake(workspace: Workspace, run: WaitingRun, batch: str, form: dict[str, Any]) -> Wake:
    try:
        with _client(workspace, run.api) as client:
            state = client.read_flow_run(run.flow_run).state
            if state is None or state.is_final():
                return Wake(flow_run=run.flow_run, state="over")
            key = state.state_details.pause_key or ""
            if state.type != StateType.PAUSED or key.rpartition("-")[0] != batch:
                return Wake(flow_run=run.flow_run, state="busy", detail=state.name or "")
            answer = client.resume_flow_run(run.flow_run, run_input=form)
    except ObjectNotFound:
        return Wake(flow_run=run.flow_run, state="over", detail="Prefect has no such run")
    except httpx.HTTPError as error:
        return Wake(flow_run=run.flow_run, state="unreachable", detail=f"{run.api}: {error}")
    if answer.status == SetStateStatus.ACCEPT:
        return Wake(flow_run=run.flow_run, state="resumed")
    # Prefect answers 200 here too: REJECT for a wrong form, ABORT if somebody else resumed the run.
    state_now: RunState = "refused" if answer.status == SetStateStatus.REJECT else "busy"
    return Wake(flow_run=run.flow_run, state=state_now, detail=str(getattr(answer.details, "reason", "")))


@contextmanager
def _client(workspace: Workspace, api: str) -> Iterator[SyncPrefectClient]:
    """A client of that API, with the password of Prefect's settings or of the workspace."""
    settings: dict[Any, Any] = {PREFECT_API_URL: api}
    password = password_for(api, workspace.root / "prefect")
    if password is not None:
        settings[PREFECT_API_AUTH_STRING] = password
    patience = {"timeout": _PATIENCE_SECONDS}
    with temporary_settings(settings), get_client(patience, sync_client=True) as client:
        yield client


# How a batch ends: people have answered it, or an engineer went on without them.

_EVENTS: dict[Ending, BatchEventKind] = {"continue": "continued", "abandon": "abandoned"}


def settle(workspace: Workspace, batch: str, ending: Ending, reason: str = "") -> None:
    """Record an ending. A second call changes nothing; the first ending stays.

    Raises:
        UnknownKeyError: If there is no such batch.
    """
    if batch_ending(workspace, batch) is None:
        workspace.ledger().batches.close(batch, _EVENTS[ending], reason)


def batch_ending(workspace: Workspace, batch: str) -> Ending | None:
    """How a batch ended. None while it is open."""
    last = workspace.ledger().batches.events(batch)[-1].kind
    return next((ending for ending, kind in _EVENTS.items() if kind == last), None)


# Resuming a round by hand.


def resume(workspace: Workspace, batch: str, decision: Ending | None) -> list[Wake]:
    """Resume the runs that wait for a batch if it is complete, or if a person decides.

    The decision is written to the ledger first. A round without a deployment finds it there in its next run;
    a suspended run uses it, whatever its form says.

    Returns:
        The result for each run that ever waited for the batch.

    Raises:
        FlowError: If answers are missing and nothing is decided.
        UnknownKeyError: If there is no such batch.
    """
    counts = workspace.ledger().batches.counts(batch)
    if decision is not None:
        settle(workspace, batch, decision, "by `cleanplate review resume`")
    ending = batch_ending(workspace, batch) or ("continue" if counts.left == 0 else None)
    if ending is None:
        raise FlowError(
            f"{counts.left} of {counts.wanted} answers of {batch} are missing; wait for them, or give "
            "--decision continue or --decision abandon"
        )
    return wake_runs(workspace, batch, {"decision": ending})
