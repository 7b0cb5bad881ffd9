"""`cleanplate review people`: add, list, exclude, readmit."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from flows.cli.options import (
    DEFAULT_WORKSPACE,
    JsonOption,
    ReasonOption,
    WorkspaceOption,
    clear_errors,
    existing_workspace,
    print_json,
    shown,
)

people_app = typer.Typer(
    name="people", help="Who may answer: add, list, exclude, readmit.", no_args_is_help=True
)

NameArgument = Annotated[str, typer.Argument(help="The person's name.")]


@people_app.command("add")
@clear_errors
def add_command(
    name: NameArgument,
    new_token: Annotated[
        bool, typer.Option("--new-token", help="Another token for somebody who is there; the old one ends.")
    ] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Add a person and print their token, once; only its hash is kept.

    Example: cleanplate review people add ana
    """
    from tasks.review.people import invite

    token = invite(existing_workspace(workspace).ledger(), name, replace=new_token)
    if as_json:
        print_json({"person": name, "token": token})
        return
    typer.echo(f"{name}'s token, shown this once: {token}")


@people_app.command("list")
@clear_errors
def list_command(workspace: WorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False) -> None:
    """List the people and what was last decided about them.

    Example: cleanplate review people list
    """
    ledger = existing_workspace(workspace).ledger()
    people = ledger.people()
    last = {each.name: ledger.person_events(each.name)[-1] for each in people}
    if as_json:
        rows = [{**each.model_dump(), "last": last[each.name].model_dump(mode="json")} for each in people]
        print_json({"people": rows})
        return
    table = Table("person", "counts", "last", "on", "why", box=None)
    for each in people:
        event = last[each.name]
        counts = "no" if each.excluded else "yes"
        when = f"{event.recorded_at:%Y-%m-%d %H:%M}"
        table.add_row(shown(each.name), counts, event.kind, when, shown(event.reason))
    Console().print(table)


@people_app.command("exclude")
@clear_errors
def exclude_command(
    name: NameArgument, reason: ReasonOption, workspace: WorkspaceOption = DEFAULT_WORKSPACE
) -> None:
    """Leave a person's answers out of every decision; none is deleted.

    Example: cleanplate review people exclude ana --reason "answers without looking"
    """
    existing_workspace(workspace).ledger().exclude_person(name, reason, datetime.now(UTC))
    Console().print(shown(f"{name}'s answers no longer count; their items are asked again"))


@people_app.command("readmit")
@clear_errors
def readmit_command(
    name: NameArgument, reason: ReasonOption, workspace: WorkspaceOption = DEFAULT_WORKSPACE
) -> None:
    """Let a person's answers count again.

    Example: cleanplate review people readmit ana --reason "a misunderstanding"
    """
    existing_workspace(workspace).ledger().readmit_person(name, reason, datetime.now(UTC))
    Console().print(shown(f"{name}'s answers count again"))
