"""What all commands share: the workspace, --json, and errors that people can read."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from data_specs.errors import CleanplateError
from data_specs.plain_text import plain_text, visible

if TYPE_CHECKING:
    from tasks.workspace import Workspace

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def workspace_folder(place: str | Path) -> Path:
    """The folder named, or for ``s3://bucket/prefix`` the one in the cache that stands for it."""
    if not str(place).startswith("s3:"):
        return Path(place)
    # Imported here: --help need not wait for the store's client.
    from tasks.stores import working_folder

    try:
        return working_folder(place)
    except CleanplateError as error:
        raise typer.BadParameter(str(error)) from error


def existing_workspace(folder: Path) -> "Workspace":
    """The workspace that is there; raises as ``Workspace.existing`` does."""
    # Imported here: --help need not wait for the ledger and the store.
    from tasks.workspace import Workspace

    return Workspace.existing(folder)


WorkspaceOption = Annotated[
    Path,
    typer.Option(
        "--workspace",
        envvar="CLEANPLATE_WORKSPACE",
        parser=workspace_folder,
        metavar="DIR|s3://…",
        help="The folder with the ledger, the shards and the versions; or s3://bucket/prefix, reached by the "
        "AWS_* variables, with CLEANPLATE_LEDGER naming a ledger.",
    ),
]
DEFAULT_WORKSPACE = Path("workspace")

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object, for machines.")]

ProfileOption = Annotated[str, typer.Option(help="tiny or full: whose settings stand where none are given.")]

VersionOption = Annotated[int | None, typer.Option(min=1, help="Of the dataset; the current one if none.")]


def _one_line(reason: str) -> str:
    try:
        return plain_text(reason)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


ReasonOption = Annotated[
    str, typer.Option("--reason", callback=_one_line, help="Why, in one sentence; it is kept.")
]


def clear_errors(command: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Turns an error raised on purpose into one red sentence and exit code 1."""

    @functools.wraps(command)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return command(*args, **kwargs)
        except CleanplateError as error:
            console = Console(stderr=True, soft_wrap=True)
            console.print(shown(f"cleanplate: {error}", "red"))
            raise typer.Exit(1) from error

    return run


def shown(words: object, style: str = "") -> Text:
    """What people or files brought, for a table or a line: no markup is read, no control character obeyed."""
    return Text(visible(str(words)), style=style)


def print_json(value: Any) -> None:
    """One JSON object on standard output, and nothing else."""
    typer.echo(json.dumps(value, indent=2))
