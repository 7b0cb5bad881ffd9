"""`cleanplate morning`: what the last hours brought, and what they cost."""

from typing import Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown

from flows.cli.options import DEFAULT_WORKSPACE, JsonOption, WorkspaceOption, clear_errors, print_json
from flows.cli.settings import ConfigOption, configured

morning_app = typer.Typer(name="morning")


@morning_app.command()
@clear_errors
def morning_command(
    hours: Annotated[float, typer.Option(min=0.01, max=24 * 366, help="How far to look back.")] = 24,
    cpu_hour: Annotated[
        float | None, typer.Option("--cpu-hour", min=0, help="Price of one core busy for an hour.")
    ] = None,
    gpu_hour: Annotated[
        float | None, typer.Option("--gpu-hour", min=0, help="Price of one GPU held for an hour.")
    ] = None,
    config: ConfigOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Say what ran, what was kept and refused and why, how long it took, what it cost, how the dataset grew.

    Alarms come first: a round whose automated phase has drifted from its human one. Served, the morning flow
    shows the same page in Prefect.

    Example: cleanplate morning --hours 12 --cpu-hour 0.04 --gpu-hour 2.50
    """
    from flows.nightly.daily_report import MorningConfig, look_back_now
    from flows.report.daily_page import morning_page
    from tasks.storage.workspace import Workspace

    settings = configured(MorningConfig, config, {"workspace": workspace, "hours": hours})
    named = {"cpu_hour": cpu_hour, "gpu_hour": gpu_hour}
    prices = settings.prices.model_copy(update={name: p for name, p in named.items() if p is not None})
    place = Workspace.existing(settings.workspace)
    found = look_back_now(place, settings.model_copy(update={"prices": prices}))
    if as_json:
        totals = {"cost": found.cost, "cost_per_accepted": found.cost_per_accepted}
        alarms = [each.model_dump(mode="json") for each in found.drifts if each.alarm]
        print_json({**found.model_dump(mode="json"), **totals, "alarms": alarms})
        return
    Console().print(Markdown(morning_page(found)))
