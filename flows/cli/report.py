"""`cleanplate report`: what the last hours brought, and what they cost."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown

from data_specs.errors import InputError
from flows.cli.options import (
    DEFAULT_WORKSPACE,
    ConfigOption,
    JsonOption,
    WorkspaceOption,
    clear_errors,
    configured,
    print_json,
)

report_app = typer.Typer(name="report")


@report_app.command()
@clear_errors
def report_command(
    hours: Annotated[float, typer.Option(min=0.01, max=24 * 366, help="Number of hours to look back.")] = 24,
    cpu_hour: Annotated[
        float | None, typer.Option("--cpu-hour", min=0, help="Price of one busy CPU core for an hour.")
    ] = None,
    gpu_hour: Annotated[
        float | None, typer.Option("--gpu-hour", min=0, help="Price of one GPU for an hour, busy or not.")
    ] = None,
    config: ConfigOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Report runs, kept and refused samples, times, costs and the growth of the dataset.

    Alarms come first, such as an automated phase that has drifted from its human phase. The daily report
    shows the same page in Prefect.

    Example: cleanplate report --hours 12 --cpu-hour 0.04 --gpu-hour 2.50
    """
    from flows.nightly.daily_report import DailyReportConfig, look_back_now
    from flows.report.pages import daily_page
    from tasks.storage.workspace import Workspace

    settings = configured(DailyReportConfig, config, {"workspace": workspace, "hours": hours})
    named = {"cpu_hour": cpu_hour, "gpu_hour": gpu_hour}
    prices = settings.prices.model_copy(update={name: p for name, p in named.items() if p is not None})
    place = Workspace.existing(settings.workspace)
    report = look_back_now(place, settings.model_copy(update={"prices": prices}))
    if as_json:
        totals = {"cost": report.cost, "cost_per_accepted": report.cost_per_accepted}
        alarms = [drift.model_dump(mode="json") for drift in report.drifts if drift.alarm]
        print_json({**report.model_dump(mode="json"), **totals, "alarms": alarms})
        return
    Console().print(Markdown(daily_page(report)))


# `cleanplate metrics`: what the ledger knows, for Prometheus.

metrics_app = typer.Typer(name="metrics")


@metrics_app.command()
@clear_errors
def metrics_command(
    textfile: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="Write to this file, for node exporter's textfile collector. The name should end in .prom.",
        ),
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Print shards, rejects, reviews, scores, phases, dataset, models and seconds as OpenMetrics text.

    All figures come from the ledger, so they stay right after a crash. A file is replaced as a whole.

    Example: cleanplate metrics --textfile /var/lib/node_exporter/cleanplate.prom
    """
    from tasks.monitoring.prometheus import open_metrics, write_textfile
    from tasks.storage.workspace import Workspace

    place = Workspace.existing(workspace)
    if textfile is None:
        text = open_metrics(place)
        if as_json:
            print_json({"openmetrics": text})
        else:
            typer.echo(text, nl=False)
        return
    try:
        write_textfile(place, textfile)
    except OSError as error:
        raise InputError(textfile, f"cannot be written ({error.strerror}); name another file") from error
    if as_json:
        print_json({"textfile": str(textfile)})
