"""`cleanplate doctor`: what is missing here, and how to fix it."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from data_specs.errors import InputError
from flows.cli.options import (
    DEFAULT_WORKSPACE,
    LARGEST,
    JsonOption,
    WorkspaceOption,
    clear_errors,
    print_json,
    shown,
)

doctor_app = typer.Typer(name="doctor")

_FETCHES = ("hf ", "curl ")
"""Commands that fetch a checkpoint begin with one of these."""
_COLOURS = {"ok": "green", "note": "yellow", "missing": "red"}


@doctor_app.command()
@clear_errors
def doctor_command(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
    disk_gb: Annotated[
        float, typer.Option(min=0, help="Minimum free disk space for the workspace, in GB.")
    ] = 2,
    profile: Annotated[
        str,
        typer.Option(
            help="What to check: tiny, or full with the published checkpoints, or a JSON file that extends "
            "full."
        ),
    ] = "tiny",
    weights: Annotated[
        Path, typer.Option(help="The folder with one subfolder for each published checkpoint.")
    ] = Path("weights"),
    gpu: Annotated[
        str | None,
        typer.Option(
            help="Type of GPU, such as H100-80GB. With full, the command estimates the trainings on it."
        ),
    ] = None,
    gpus: Annotated[int, typer.Option(min=1, max=LARGEST, help="Number of these GPUs.")] = 8,
) -> None:
    """Report what is missing on this machine and how to fix it. A missing necessary part gives exit code 1.

    Example: cleanplate doctor --profile full --weights ./weights --gpu H100-80GB --gpus 8
    """
    from flows.maintenance.doctor import check_health

    checks, needs = check_health(workspace, disk_gb), []
    if profile != "tiny":  # imported here: a doctor must be able to say that torch is missing
        from flows.maintenance.doctor import check_published, training_needs
        from models.profiles import profile_of

        try:
            settings = profile_of(profile)
        except ValueError as error:
            raise InputError("--profile", str(error)) from error
        checks += check_published(weights)
        needs = training_needs(settings, gpu, gpus) if gpu else []
    well = all(check.state != "missing" for check in checks)
    if as_json:
        print_json({"well": well, "checks": [check.model_dump() for check in checks], "trainings": needs})
    else:
        table = Table("", "what", "found", "how to fix it")
        for check in checks:
            state = Text(check.state, style=_COLOURS[check.state])
            below = check.fix.startswith(_FETCHES)  # to be copied whole
            # As text: a package's extra in brackets would be taken for markup.
            fix = shown("fetch it, see below" if below else check.fix)
            table.add_row(state, shown(check.name), shown(check.found), fix)
        console = Console()
        console.print(table)
        for check in checks:
            if check.fix.startswith(_FETCHES):
                console.print(shown(check.fix), soft_wrap=True)
        for need in needs:
            again = "on" if need["gradient_checkpointing"] else "off"
            room = "fits" if need["fits"] else "does not fit"
            console.print(
                f"{need['name']}, {need['optimizer']}, gradient checkpointing {again}, "
                f"{need['micro_batch_size']} samples at once: {need['memory_gb']:.1f} GB ({room} {gpu}), "
                f"about {need['hours']:.0f} hours on {gpus}",
                soft_wrap=True,
            )
        console.print(
            "Nothing necessary is missing." if well else "Something necessary is missing; see above."
        )
    if not well:
        raise typer.Exit(1)
