"""`cleanplate doctor`: what is missing here, and how to mend it."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.commands.options import DEFAULT_WORKSPACE, JsonOption, WorkspaceOption, print_json

doctor_app = typer.Typer(name="doctor")

_COLOURS = {"ok": "green", "note": "yellow", "missing": "red"}


@doctor_app.command()
def doctor_command(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
    disk_gb: Annotated[float, typer.Option(min=0, help="Free disk wanted for the workspace.")] = 2,
) -> None:
    """Say what is missing here and how to mend it. Exit 1 if anything needed is missing.

    Example: cleanplate doctor --workspace ./workspace --json
    """
    from flows.health import check_health

    checks = check_health(workspace, disk_gb)
    well = all(check.state != "missing" for check in checks)
    if as_json:
        print_json({"well": well, "checks": [check.model_dump() for check in checks]})
    else:
        table = Table("", "what", "found", "how to mend it")
        for check in checks:
            state = Text(check.state, style=_COLOURS[check.state])
            table.add_row(state, check.name, check.found, check.mend)
        console = Console()
        console.print(table)
        console.print("All that is needed is here." if well else "Something needed is missing; see above.")
    if not well:
        raise typer.Exit(1)
