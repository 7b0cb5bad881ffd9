"""The reaper: runs whose process is dead are declared crashed and brought back; the stalled are told of.

A dead process tells nothing, so the reaper listens for a while: who beats in that time lives, whatever was
lost before. It never touches a run that is suspended or paused (flows/maintenance/run_health.py).
"""

import time
from datetime import UTC, datetime, timedelta

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.events import emit_event
from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict, Field

from flows.maintenance.run_health import (
    KEEPER_TAG,
    age,
    beat_since,
    bring_back,
    declare_crashed,
    last_sign_of_work,
    runs_in,
    same_state,
)
from flows.runtime.progress import say

STALLED_EVENT = "cleanplate.run-stalled"


class ReaperConfig(BaseModel):
    """When a run counts as dead, and how often one is brought back."""

    model_config = ConfigDict(frozen=True)

    listen_seconds: int = Field(
        default=100,
        ge=1,
        le=3600,
        description="How long to listen for heartbeats; three times PREFECT_FLOWS_HEARTBEAT_FREQUENCY.",
    )
    pending_seconds: int = Field(
        default=900,
        ge=1,
        le=86_400,
        description="A run pending for so long has lost its worker; longer than the slowest start.",
    )
    crashed_seconds: int = Field(
        default=60,
        ge=1,
        le=86_400,
        description="A run crashed for so long was missed by the automation, and is brought back here.",
    )
    starts: int = Field(
        default=10, ge=1, le=1000, description="A run that was started so often stays crashed."
    )
    forget_hours: int = Field(
        default=24, ge=1, le=8760, description="A run that crashed longer ago is no longer brought back."
    )
    stalled_minutes: int = Field(
        default=60, ge=1, le=10_080, description="A living run without a sign of work for so long is told of."
    )


class ReaperReport(BaseModel):
    """What the reaper found and did; names of runs."""

    model_config = ConfigDict(frozen=True)

    dead: list[str]
    """Declared crashed."""
    brought_back: list[str]
    given_up: list[str]
    """Crashed, and started too often."""
    stalled: list[str]
    """Alive, and without a sign of work."""


@flow(name="reaper", flow_run_name="reaper")
def reaper(config: ReaperConfig) -> ReaperReport:
    """Listen, bury the dead, bring back what crashed, tell of what stands still."""
    with get_client(sync_client=True) as client:
        before, began = _running(client), datetime.now(UTC)
        time.sleep(config.listen_seconds)
        running = same_state(before, _running(client))
        silent = [run for run in running if not beat_since(client, run, began)]
        dead = [run for run in silent if declare_crashed(client, run, _silence(config))]
        dead += _lost_on_the_way(client, config)
        back, given_up = _crashed(client, config)
        living = [run for run in running if run not in silent]
        stalled = [run for run in living if _stands_still(client, run, config)]
    report = ReaperReport(
        dead=_names(dead), brought_back=_names(back), given_up=_names(given_up), stalled=_names(stalled)
    )
    _publish(report, stalled)
    return report


def _running(client: SyncPrefectClient) -> list[FlowRun]:
    """Ours that run, other reapers too."""
    reapers = runs_in(client, StateType.RUNNING, tag=KEEPER_TAG)
    others = [run for run in reapers if str(run.id) != flow_run.get_id()]
    return runs_in(client, StateType.RUNNING) + others


def _silence(config: ReaperConfig) -> str:
    return f"its process is dead: no heartbeat in {config.listen_seconds} s"


def _lost_on_the_way(client: SyncPrefectClient, config: ReaperConfig) -> list[FlowRun]:
    """Pending runs whose worker died before it had started them."""
    now, limit = datetime.now(UTC), timedelta(seconds=config.pending_seconds)
    pending = runs_in(client, StateType.PENDING) + runs_in(client, StateType.PENDING, tag=KEEPER_TAG)
    late = [run for run in pending if age(run, now) > limit]
    why = f"its worker never started it: pending for more than {config.pending_seconds} s"
    return [run for run in late if declare_crashed(client, run, why)]


def _crashed(client: SyncPrefectClient, config: ReaperConfig) -> tuple[list[FlowRun], list[FlowRun]]:
    """Crashed runs that the automation missed: those brought back, and those started too often."""
    now = datetime.now(UTC)
    recent = [
        run
        for run in runs_in(client, StateType.CRASHED)
        if timedelta(seconds=config.crashed_seconds) < age(run, now) < timedelta(hours=config.forget_hours)
    ]
    back = [run for run in recent if run.run_count < config.starts]
    for run in back:
        bring_back(client, run)
    return back, [run for run in recent if run.run_count >= config.starts]


def _stands_still(client: SyncPrefectClient, run: FlowRun, config: ReaperConfig) -> bool:
    return datetime.now(UTC) - last_sign_of_work(client, run) > timedelta(minutes=config.stalled_minutes)


def _names(runs: list[FlowRun]) -> list[str]:
    return sorted(run.name for run in runs)


def _publish(report: ReaperReport, stalled: list[FlowRun]) -> None:
    """A table where there is something to tell, and an event for each run that stands still."""
    rows = [
        {"run": name, "what": what.replace("_", " ")}
        for what, names in report.model_dump().items()
        for name in names
    ]
    sentence = f"{len(rows)} runs needed help" if rows else "every run is well"
    if rows:
        create_table_artifact(rows, key="reaper", description=sentence)
    for run in stalled:
        emit_event(STALLED_EVENT, resource={"prefect.resource.id": f"prefect.flow-run.{run.id}"})
    say(sentence)
