"""Run `cleanplate serve`: schedules, workers and restarts on this machine, until it is stopped."""

import typer
from rich.console import Console

from flows.cli.options import (
    DEFAULT_WORKSPACE,
    JsonOption,
    ServedProfileOption,
    WorkspaceOption,
    clear_errors,
    print_json,
)

serve_app = typer.Typer(name="serve")


@serve_app.command()
@clear_errors
def serve_command(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    profile: ServedProfileOption = "tiny",
    as_json: JsonOption = False,
) -> None:
    """Serve the flows: a Prefect server if none answers, deployments with their schedules, and workers.

    A process that dies is started again. Ctrl-C stops everything. A second start changes nothing that exists.

    Prefect's pages ask for a password. It is the content of the workspace's file prefect/password, which only
    you can read. Our own commands find it. For `prefect` itself, set PREFECT_API_AUTH_STRING to it. If you
    set that variable before you serve, its value is the password.

    Example: cleanplate serve --workspace plates --profile full
    """
    from deploy.serving import serve
    from tasks.storage.workspace import Workspace

    def ready(address: str, sign_in: str, alone: bool) -> None:
        if as_json:
            print_json({"address": address, "sign_in": sign_in.removeprefix("; "), "keeps_workers": alone})
            return
        console = Console(highlight=False)
        console.print(f"Everything is registered; see {address}{sign_in}", soft_wrap=True)
        console.print(
            "Workers wait for runs; Ctrl-C stops them."
            if alone
            else "Another `cleanplate serve` keeps the workers of this workspace, so this one ends."
        )

    serve(Workspace.open(workspace), profile, ready)
