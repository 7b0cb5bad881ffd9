"""`cleanplate review resume`: wakes the run that waits for a batch, should nothing else have done so."""

from typing import Annotated

import typer
from rich.console import Console

from flows.cli.options import (
    DEFAULT_WORKSPACE,
    JsonOption,
    WorkspaceOption,
    clear_errors,
    existing_workspace,
    print_json,
    shown,
)
from tasks.review.ending import Ending

resume_app = typer.Typer()


@resume_app.command("resume")
@clear_errors
def resume_command(
    batch: Annotated[str, typer.Argument(help="The batch, as `cleanplate review status` names it.")],
    decision: Annotated[
        Ending | None, typer.Option(help="Do not wait for the answers that are missing.")
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Let the round go on that waits for a batch. Exit 1 if a run that waits could not be resumed.

    The review server does the same after the last answer; asked twice, nothing happens twice.

    Example: cleanplate review resume human-1-3f2a9c1b --decision continue
    """
    from tasks.review.resume import resume

    woken = resume(existing_workspace(workspace), batch, decision)
    if as_json:
        print_json({"batch": batch, "runs": [each.model_dump(mode="json") for each in woken]})
    else:
        console = Console()
        for each in woken:
            why = f" ({each.detail})" if each.detail else ""
            console.print(shown(f"run {each.flow_run}: {each.state}{why}"))
        if not woken:
            console.print("no suspended run waits for it; run the round again, and it goes on")
    if any(each.state in ("refused", "unreachable") for each in woken):
        raise typer.Exit(1)
