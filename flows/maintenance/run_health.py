"""How our runs are: which are dead, which crashed and were forgotten, which live and do nothing.

Only runs with our tags are looked at, and of them only those that Prefect calls running, pending or
crashed: who is suspended or paused waits for people, has no heart that could beat, and is left alone.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
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
from prefect.states import AwaitingRetry, Crashed

TAG = "cleanplate"
"""Of every deployment that may be restarted."""
KEEPER_TAG = "cleanplate-keeper"
"""Of the reaper's own: a dead one is buried and not brought back, since the schedule starts the next."""
_HEARTBEAT = "prefect.flow-run.heartbeat"
_PAGE = 200


def runs_in(client: SyncPrefectClient, *types: StateType, tag: str = TAG) -> list[FlowRun]:
    """Our deployments' runs with a tag, in states of these types."""
    found: list[FlowRun] = []
    wanted = FlowRunFilter(
        tags=FlowRunFilterTags(all_=[tag]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(types))),
    )
    while True:
        page = client.read_flow_runs(flow_run_filter=wanted, limit=_PAGE, offset=len(found))
        found += page
        if len(page) < _PAGE:
            return [run for run in found if run.deployment_id is not None]


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
    known = {(run.id, run.state_id) for run in before}
    return [run for run in after if (run.id, run.state_id) in known]


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
