"""The daily report: one look at what a night brought, what it cost, and whether to worry."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.events import emit_event
from pydantic import BaseModel, ConfigDict, Field

from data_specs.daily_report import DailyReport, Drift, Prices
from data_specs.keys import derive_key
from flows.report.pages import daily_page, drift_sentence, sentences
from flows.runtime.runs import fail_cleanly
from flows.runtime.shards import say
from tasks.monitoring.daily_report import DriftLimits, look_back
from tasks.storage.workspace import Workspace

DRIFT_EVENT = "round.drifted"
"""Emitted for each alarm; an automation may call somebody."""


class DailyReportSettings(BaseModel):
    """What the daily report covers and when it alarms; the nightly flows have it in their forms too."""

    model_config = ConfigDict(frozen=True)

    hours: float = Field(
        default=24, gt=0, le=24 * 366, description="Hours that the report covers, up to now."
    )
    prices: Prices = Field(default=Prices(), description="Prices of an hour of a CPU core and of a GPU.")
    limits: DriftLimits = Field(
        default=DriftLimits(),
        description="Maximum differences between automated phases and the phases they are compared with.",
    )


class DailyReportConfig(DailyReportSettings):
    """How far to look back, what an hour costs, and when to alarm."""

    workspace: Path = Field(default=Path("workspace"), description="The folder with the ledger.")


@flow(name="daily-report", flow_run_name="report of {config.hours:g} hours")
@fail_cleanly
def daily_report(config: DailyReportConfig) -> DailyReport:
    """Look back, show it as one page, and raise an alarm where a round has drifted."""
    workspace = Workspace.existing(config.workspace)
    found = look_back_now(workspace, config)
    publish_daily_report(workspace, found)
    return found


def look_back_now(workspace: Workspace, settings: DailyReportSettings) -> DailyReport:
    """The last hours up to this moment."""
    until = datetime.now(UTC)
    since = until - timedelta(hours=settings.hours)
    return look_back(workspace, since, until, settings.prices, settings.limits)


def publish_daily_report(workspace: Workspace, found: DailyReport) -> None:
    """The page as an artifact of the flow run this is called in, and an event for each alarm."""
    create_markdown_artifact(
        daily_page(found), key="daily-report", description=" ".join(sentences(found)).replace("**", "")
    )
    for drift in found.drifts:
        if drift.alarm:
            say(f"alarm: {drift_sentence(drift)}")
            _raise_alarm(workspace, drift)


def _raise_alarm(workspace: Workspace, drift: Drift) -> None:
    """The same drift told twice bears the same id."""
    emit_event(
        DRIFT_EVENT,
        resource={
            "prefect.resource.id": f"cleanplate.workspace.{workspace.root.name}",
            "prefect.resource.name": workspace.address,
        },
        payload={**drift.model_dump(), "sentence": drift_sentence(drift)},
        id=UUID(derive_key(DRIFT_EVENT, workspace.address, drift.model_dump_json()).ljust(32, "0")),
    )
