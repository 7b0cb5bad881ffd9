"""A night: the local date on which a run is due; it is done once, however often it is started."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict, Field, field_validator

from data_specs.keys import derive_key
from flows.nightly.daily_report import DailyReportSettings, look_back_now, publish_daily_report
from flows.runtime.runs import run_name
from flows.runtime.shards import say
from tasks.storage.workspace import Workspace


class NightSettings(BaseModel):
    """Which night a run is for."""

    model_config = ConfigDict(frozen=True)

    workspace: Path = Field(
        default=Path("workspace"), description="The folder with the ledger, the shards and the models."
    )
    timezone: str = Field(
        default="UTC",
        description="Time zone of the schedule, such as Europe/Berlin. Its date names the night.",
    )
    run_date: date | None = Field(
        default=None,
        description="The date of the night. None: the date for which the run was scheduled. Each date "
        "runs once.",
    )
    daily_report: DailyReportSettings = Field(
        default=DailyReportSettings(),
        description="Settings of the report at the end of the night: hours, prices and limits.",
    )

    @field_validator("timezone")
    @classmethod
    def _timezone_is_known(cls, timezone: str) -> str:
        try:
            ZoneInfo(timezone)
        except (KeyError, OSError, ValueError) as error:
            raise ValueError(f"{timezone!r} is not a time zone; write one such as Europe/Berlin") from error
        return timezone


def night_of(settings: NightSettings) -> date:
    """The night named; else the date, in the zone, on which this run was due.

    When a run is due never changes: late, killed and started again, it is still for the same night.
    """
    if settings.run_date is not None:
        return settings.run_date
    return flow_run.get_scheduled_start_time().astimezone(ZoneInfo(settings.timezone)).date()


def night_run_name(what: str, kind: type[NightSettings]) -> Callable[[], str]:
    """Makes the name of a run from its night: ``compositing, night 2026-11-26``."""
    return run_name(kind, lambda settings: f"{what}, night {night_of(settings)}")


Result = TypeVar("Result", bound=BaseModel)


def done_before(workspace: Workspace, work: str, night: date, result: type[Result]) -> Result | None:
    """What the night's work gave, where the ledger says that it is done."""
    known = workspace.ledger().results.get("night", night.isoformat(), result, run=work)
    if known is not None:
        say(f"{work}: the night of {night} is done already; nothing is left to do")
    return known


def close_night(
    settings: NightSettings, workspace: Workspace, work: str, night: date, result: BaseModel
) -> None:
    """Shows the daily report in this flow run, then records the night as done, which is its last act.

    A night killed in between shows its page once more; one that is recorded never does again.
    """
    publish_daily_report(workspace, look_back_now(workspace, settings.daily_report))
    workspace.ledger().results.record("night", night.isoformat(), result, run=work)


def night_seed(seed: int, night: date) -> int:
    """A seed of the night's own, so that each night draws other things, and the same night the same."""
    return int(derive_key("night", seed, night.isoformat())[:8], 16)
