"""Registers everything that prefect.yaml and the automations say with a Prefect server; safe to do again."""

import os
import subprocess
import sys
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from data_specs.errors import FlowError
from deploy.automations import make_automations
from deploy.pools import make_pools

PREFECT_FILE = Path(__file__).with_name("prefect.yaml")


def register(api: str, workspace: str) -> None:
    """Pools and queues, then the deployments with their schedules and triggers, then the automations.

    Args:
        api: Prefect's API, which ends in /api.
        workspace: What the deployments work in: an absolute folder, or a store's address.

    Raises:
        FlowError: When Prefect refuses the deployments.
    """
    with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
        make_pools(client)
        _deploy(api, workspace)
        make_automations(client)


def _deploy(api: str, workspace: str) -> None:
    """Prefect's own command reads the file, so that it means here what Prefect's documentation says."""
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
        env={**os.environ, "PREFECT_API_URL": api, "CLEANPLATE_WORKSPACE": workspace},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines()[-20:]
        raise FlowError(f"Prefect refused {PREFECT_FILE.name}: " + "\n".join(said))
