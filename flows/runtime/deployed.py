"""Starting a deployment's run from another run: once for each key, however many ask for it at once."""

from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound

from flows.runtime.progress import say


def start_once(deployment: str, changes: dict[str, Any], key: str) -> UUID | None:
    """Start a run of a deployment unless one was started with this key before.

    Args:
        deployment: ``flow/deployment``.
        changes: Settings that differ from the deployment's own ``config``.
        key: Names what the run is for; Prefect gives the same run for the same key.

    Returns:
        The run; None where this Prefect has no such deployment.
    """
    with get_client(sync_client=True) as client:
        try:
            found = client.read_deployment_by_name(deployment)
        except ObjectNotFound:
            say(
                f"there is no deployment {deployment} here, so it is not started; `cleanplate serve` makes it"
            )
            return None
        config = {**found.parameters.get("config", {}), **changes}
        run = client.create_flow_run_from_deployment(
            found.id, parameters={"config": config}, idempotency_key=key
        )
    return run.id
