"""A clean stop: the ledger or the store is lost or a disk full; a flow ends with a sentence, to go on later.

A lost store may be back in a minute, so the run ends as crashed, which the automation starts again, a bounded
number of times. A full disk will not empty itself: the run fails, and whoever freed some space retries it.
"""

import errno
import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Crashed
from pydantic import BaseModel

from data_specs.errors import CleanplateError, DiskFullError, StoreLostError, StoreSilentError
from flows.runtime.shards import say

Config = TypeVar("Config", bound=BaseModel)
Result = TypeVar("Result")


def fail_cleanly(function: Callable[[Config], Result]) -> Callable[[Config], Result]:
    """The flow's function with the two kinds of end; goes between ``@flow`` and the function.

    Who calls the flow gets its result or the error, as without it.

    Raises:
        DiskFullError: In the place of the system's own error.
    """

    @functools.wraps(function)
    def run(config: Config) -> Result:
        context = FlowRunContext.get()
        if context is None or context.flow is None or context.flow.fn is not run:
            return function(config)  # A part of another flow's run, which ends as that one does.
        try:
            return function(config)
        except (StoreLostError, StoreSilentError) as error:
            # Prefect takes a state for the run's end, and gives its caller the error in it.
            return cast(Result, Crashed(message=str(error), data=error))
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            place = error.filename or getattr(config, "workspace", "the disk")
            raise DiskFullError(
                place, f"the disk is full ({error.strerror or 'no space is left'})"
            ) from error

    return run


# Starting a deployment's run from another run: once for each key, however many ask for it at once.


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
            deployed = client.read_deployment_by_name(deployment)
        except ObjectNotFound:
            say(f"the deployment {deployment} is missing, so nothing is started; `cleanplate serve` makes it")
            return None
        config = {**deployed.parameters.get("config", {}), **changes}
        run = client.create_flow_run_from_deployment(
            deployed.id, parameters={"config": config}, idempotency_key=key
        )
    return run.id


# Run names that a run's settings and the ledger tell: which night it is for, which version it is on.


def run_name(kind: type[Config], name: Callable[[Config], str]) -> Callable[[], str]:
    """Makes a run's name as it starts, for ``flow_run_name``.

    Where the workspace cannot tell, the run bears its flow's name, and then says itself what is missing.

    Args:
        kind: The flow's settings, its parameter ``config``.
        name: Words them.
    """

    def named() -> str:
        config: Any = flow_run.get_parameters()["config"]
        try:
            return name(kind.model_validate(config))
        except CleanplateError:
            return str(flow_run.get_flow_name())

    return named
