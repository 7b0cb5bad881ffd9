"""Retention: old runs leave Prefect, abandoned checkpoints leave the workspace; no sample ever does."""

import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import TERMINAL_STATES
from pydantic import BaseModel, ConfigDict, Field

from flows.maintenance.reaper import TAG
from flows.runtime.runs import fail_cleanly
from flows.runtime.shards import say
from tasks.storage.workspace import Workspace

_PAGE = 200
_SECONDS_A_DAY = 86_400


class RetentionConfig(BaseModel):
    """How long ended runs and abandoned checkpoints are kept."""

    model_config = ConfigDict(frozen=True)

    workspace: Path = Field(
        default=Path("workspace"), description="The folder with the ledger, the shards and the models."
    )
    run_days: int = Field(
        default=90,
        ge=1,
        le=3650,
        description="Days for which Prefect keeps runs that have ended. The ledger keeps all.",
    )
    checkpoint_days: int = Field(
        default=30, ge=1, le=3650, description="Days for which checkpoints of unfinished trainings are kept."
    )


class RetentionResult(BaseModel):
    """What went."""

    model_config = ConfigDict(frozen=True)

    runs: int
    checkpoints: int
    freed_bytes: int


@flow(name="retention", flow_run_name="retention")
@fail_cleanly
def retention(config: RetentionConfig) -> RetentionResult:
    """Delete ended runs and abandoned checkpoints that are older than the settings say."""
    workspace = Workspace.open(config.workspace)
    runs = delete_runs(datetime.now(UTC) - timedelta(days=config.run_days))
    checkpoints, freed = delete_checkpoints(workspace, config.checkpoint_days)
    result = RetentionResult(runs=runs, checkpoints=checkpoints, freed_bytes=freed)
    sentence = f"{runs} ended runs and {checkpoints} abandoned checkpoints ({freed / 1e6:.1f} MB) deleted"
    rows = [{"what": what, "count": count} for what, count in result.model_dump().items()]
    create_table_artifact(rows, key="retention", description=sentence)
    say(sentence)
    return result


def delete_runs(before: datetime) -> int:
    """Delete our runs that ended before a moment, with their task runs; how many there were."""
    old = FlowRunFilter(
        tags=FlowRunFilterTags(all_=[TAG]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=sorted(TERMINAL_STATES))),
        end_time=FlowRunFilterEndTime.model_validate({"before_": before}),
    )
    deleted = 0
    with get_client(sync_client=True) as client:
        while page := client.read_flow_runs(flow_run_filter=old, limit=_PAGE):
            for run in page:
                client.delete_flow_run(run.id)
            deleted += len(page)
    return deleted


def delete_checkpoints(workspace: Workspace, days: int) -> tuple[int, int]:
    """Delete checkpoints that nobody has written to for so long; how many, and their bytes."""
    limit = time.time() - days * _SECONDS_A_DAY
    old: list[tuple[Path, int]] = []
    for path in workspace.models_dir.glob("*.checkpoint.safetensors*"):
        with suppress(FileNotFoundError):  # A living training renames and removes its own.
            stat = path.stat()
            if stat.st_mtime < limit:
                old.append((path, stat.st_size))
    for path, _ in old:
        path.unlink(missing_ok=True)
    return len(old), sum(size for _, size in old)
