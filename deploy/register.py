"""Register everything in prefect.yaml, and the automations, with a Prefect server. It is safe to repeat.

`python -m deploy.register` runs it alone, for a server and workers in their own containers.
"""

import os
import subprocess
import sys
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.settings import temporary_settings

from data_specs.errors import CleanplateError, FlowError
from deploy.automations import make_automations
from deploy.pools import make_pools
from flows.runtime.prefect_server import NoServer, Server, find_server
from tasks.storage.workspace import Workspace

PREFECT_FILE = Path(__file__).with_name("prefect.yaml")


def register(server: Server, workspace: Workspace) -> None:
    """Register pools and queues, then deployments with their schedules and triggers, then the automations.

    Args:
        server: The Prefect server.
        workspace: The workspace of the deployments. They get its address. The address of a store is valid on
            every machine.

    Raises:
        FlowError: If Prefect refuses the deployments, or a pool lets its callers choose the command.
    """
    with temporary_settings(server.settings()), get_client(sync_client=True) as client:
        make_pools(client)
        _deploy(server, workspace)
        make_automations(client)


def _deploy(server: Server, workspace: Workspace) -> None:
    """Register the file with Prefect's own command, so that it means what Prefect's documentation says."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "prefect",
            "--no-prompt",
            "deploy",
            "--all",
            "--prefect-file",
            str(PREFECT_FILE),
        ],
        env={**os.environ, **server.environment(), "CLEANPLATE_WORKSPACE": workspace.address},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines()[-20:]
        raise FlowError(f"Prefect refused {PREFECT_FILE.name}: " + "\n".join(said))


def main() -> None:
    """Create the workspace CLEANPLATE_WORKSPACE if it is missing, and register its deployments."""
    try:
        workspace = Workspace.open(os.environ.get("CLEANPLATE_WORKSPACE", "workspace"))
        server = find_server(workspace.root / "prefect")
        if isinstance(server, NoServer):
            raise FlowError(
                server.reason
                or f"no Prefect server answers at {server.api}; start one with `cleanplate serve`"
            )
        register(server, workspace)
    except CleanplateError as error:
        sys.exit(f"cleanplate: {error}")
    print(f"{workspace.address} is registered at {server.api}")


if __name__ == "__main__":
    main()
