"""What all commands share: the workspace, --json, and errors that people can read."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from data_specs.errors import CleanplateError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

WorkspaceOption = Annotated[
    Path,
    typer.Option(
        "--workspace",
        envvar="CLEANPLATE_WORKSPACE",
        help="The folder with the ledger, the shards and the versions.",
    ),
]
DEFAULT_WORKSPACE = Path("workspace")

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object, for machines.")]


def clear_errors(command: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Turns an error raised on purpose into one red sentence and exit code 1."""

    @functools.wraps(command)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return command(*args, **kwargs)
        except CleanplateError as error:
            console = Console(stderr=True, soft_wrap=True)
            console.print(Text(f"cleanplate: {error}", style="red"))
            raise typer.Exit(1) from error

    return run


def print_json(value: Any) -> None:
    """One JSON object on standard output, and nothing else."""
    typer.echo(json.dumps(value, indent=2))
