"""The reaper: runs whose process is dead are declared crashed and brought back; the stalled are told of.

A dead process tells nothing, so the reaper listens for a while: who beats in that time lives, whatever was
lost before. It never touches a run that is suspended or paused (flows/maintenance/reaper.py).
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
    TaskRunFilter,
    TaskRunFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import ArtifactSort, TaskRunSort
from prefect.events import emit_event
from prefect.runtime import flow_run
from prefect.states import AwaitingRetry, Crashed
from pydantic import BaseModel, ConfigDict, Field

from flows.runtime.shards import say

# How our runs are: which are dead, which crashed and were forgotten, which live and do nothing.
#
# Only runs with our tags are looked at, and of them only those that Prefect calls running, pending or
# crashed: who is suspended or paused waits for people, has no heart that could beat, and is left alone.

TAG = "cleanplate"
"""Of every deployment that may be restarted."""
MAINTENANCE_TAG = "cleanplate-maintenance"
"""Of the reaper's own: a dead one is not brought back, for the schedule starts the next."""
_HEARTBEAT = "prefect.flow-run.heartbeat"
_PAGE = 200


def runs_in(client: SyncPrefectClient, *types: StateType, tag: str = TAG) -> list[FlowRun]:
    """Our deployments' runs with a tag, in states of these types."""
    runs: list[FlowRun] = []
    wanted = FlowRunFilter(
        tags=FlowRunFilterTags(all_=[tag]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(types))),
    )
    while True:
        page = client.read_flow_runs(flow_run_filter=wanted, limit=_PAGE, offset=len(runs))
        runs += page
        if len(page) < _PAGE:
            return [run for run in runs if run.deployment_id is not None]


def age(run: FlowRun, now: datetime) -> timedelta:
    """How long the run has been in its state."""
    assert run.state is not None, "a run that was found by its state has one"
    return now - run.state.timestamp


def beat_since(client: SyncPrefectClient, run: FlowRun, since: datetime) -> bool:
    """Whether the run's process told that it lives; each tells every `PREFECT_FLOWS_HEARTBEAT_FREQUENCY`."""
    wanted = {
        "event": {"name": [_HEARTBEAT]},
        "resource": {"id": [f"prefect.flow-run.{run.id}"]},
        "occurred": {"since": since.isoformat(), "until": datetime.now(UTC).isoformat()},
    }
    answer = client.request("POST", "/events/filter", json={"filter": wanted, "limit": 1})
    answer.raise_for_status()
    return bool(answer.json()["events"])


def same_state(before: Sequence[FlowRun], after: Sequence[FlowRun]) -> list[FlowRun]:
    """Runs that are in the very state they were in before."""
    earlier = {(run.id, run.state_id) for run in before}
    return [run for run in after if (run.id, run.state_id) in earlier]


def declare_crashed(client: SyncPrefectClient, run: FlowRun, why: str) -> bool:
    """Tell Prefect that the run is dead, unless it has moved on meanwhile."""
    now = client.read_flow_run(run.id)
    if now.state_id != run.state_id:
        return False
    client.set_flow_run_state(run.id, Crashed(message=why), force=True)
    return True


def bring_back(client: SyncPrefectClient, run: FlowRun) -> None:
    """Have a worker start a crashed run again."""
    client.set_flow_run_state(run.id, AwaitingRetry(scheduled_time=datetime.now(UTC)), force=True)


def last_sign_of_work(client: SyncPrefectClient, run: FlowRun) -> datetime:
    """When a task of the run last began or ended, or an artifact of it (a progress bar, too) last changed."""
    of_run = TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[run.id]))
    signs = [run.start_time or datetime.now(UTC)]
    for sort in (TaskRunSort.END_TIME_DESC, TaskRunSort.EXPECTED_START_TIME_DESC):
        newest = client.read_task_runs(task_run_filter=of_run, sort=sort, limit=1)
        signs += [moment for task in newest for moment in (task.start_time, task.end_time) if moment]
    signs += [moment for moment in _artifacts_changed(client, run.id) if moment]
    return max(signs)


def _artifacts_changed(client: SyncPrefectClient, run: UUID) -> list[datetime | None]:
    newest = client.read_artifacts(
        artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run])),
        sort=ArtifactSort.UPDATED_DESC,
        limit=1,
    )
    return [artifact.updated for artifact in newest]


STALLED_EVENT = "cleanplate.run-stalled"


class ReaperConfig(BaseModel):
    """When a run counts as dead, and how often one is brought back."""

    model_config = ConfigDict(frozen=True)

    heartbeat_window_seconds: int = Field(
        default=100,
        ge=1,
        le=3600,
        description="A run without a heartbeat for this time is dead. The default is three times "
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY.",
    )
    pending_seconds: int = Field(
        default=900,
        ge=1,
        le=86_400,
        description="A run that is pending for this time has lost its worker. It must be longer than the "
        "slowest start.",
    )
    crashed_seconds: int = Field(
        default=60,
        ge=1,
        le=86_400,
        description="A run that stays crashed for this time is started again here. The automation has "
        "missed it.",
    )
    max_restarts: int = Field(
        default=10,
        ge=1,
        le=1000,
        description="Maximum number of starts of a run, with the first one. After that it stays crashed.",
    )
    max_age_hours: int = Field(
        default=24, ge=1, le=8760, description="A run that crashed longer ago than this is not started again."
    )
    stalled_minutes: int = Field(
        default=60, ge=1, le=10_080, description="A living run without progress for this time is reported."
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
    """Listen, declare the dead crashed, bring back what crashed, tell of what stands still."""
    with get_client(sync_client=True) as client:
        before, began = _running(client), datetime.now(UTC)
        time.sleep(config.heartbeat_window_seconds)
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
    reapers = runs_in(client, StateType.RUNNING, tag=MAINTENANCE_TAG)
    others = [run for run in reapers if str(run.id) != flow_run.get_id()]
    return runs_in(client, StateType.RUNNING) + others


def _silence(config: ReaperConfig) -> str:
    return f"its process has died: no heartbeat for {config.heartbeat_window_seconds} s"


def _lost_on_the_way(client: SyncPrefectClient, config: ReaperConfig) -> list[FlowRun]:
    """Pending runs whose worker died before it had started them."""
    now, limit = datetime.now(UTC), timedelta(seconds=config.pending_seconds)
    pending = runs_in(client, StateType.PENDING) + runs_in(client, StateType.PENDING, tag=MAINTENANCE_TAG)
    late = [run for run in pending if age(run, now) > limit]
    why = f"its worker has not started it: pending for more than {config.pending_seconds} s"
    return [run for run in late if declare_crashed(client, run, why)]


def _crashed(client: SyncPrefectClient, config: ReaperConfig) -> tuple[list[FlowRun], list[FlowRun]]:
    """Crashed runs that the automation missed: those brought back, and those started too often."""
    now = datetime.now(UTC)
    recent = [
        run
        for run in runs_in(client, StateType.CRASHED)
        if timedelta(seconds=config.crashed_seconds) < age(run, now) < timedelta(hours=config.max_age_hours)
    ]
    back = [run for run in recent if run.run_count < config.max_restarts]
    for run in back:
        bring_back(client, run)
    return back, [run for run in recent if run.run_count >= config.max_restarts]


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
    sentence = f"{len(rows)} runs needed help" if rows else "no run needed help"
    if rows:
        create_table_artifact(rows, key="reaper", description=sentence)
    for run in stalled:
        emit_event(STALLED_EVENT, resource={"prefect.resource.id": f"prefect.flow-run.{run.id}"})
    say(sentence)
