"""`cleanplate metrics`: what the ledger knows, for Prometheus."""

from pathlib import Path
from typing import Annotated

import typer

from data_specs.errors import InputError
from flows.cli.options import DEFAULT_WORKSPACE, JsonOption, WorkspaceOption, clear_errors, print_json

metrics_app = typer.Typer(name="metrics")


@metrics_app.command()
@clear_errors
def metrics_command(
    textfile: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="Write here instead, for node exporter's textfile collector; its name should end in .prom.",
        ),
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Print shards, rejects, reviews, scores, phases, dataset, models and seconds as OpenMetrics text.

    Everything is counted in the ledger, so it is as true after a crash as before. A file is replaced whole.

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
        raise InputError(textfile, f"cannot be written ({error.strerror}); name another place") from error
    if as_json:
        print_json({"textfile": str(textfile)})
