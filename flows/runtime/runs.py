"""A clean stop: the ledger or the store is lost or a disk full; a flow ends with a sentence, to go on later.

A lost store may be back in a minute, so the run ends as crashed, which the automation starts again, a bounded
number of times. A full disk will not empty itself: the run fails, and whoever freed some space retries it.
"""

import errno
import functools
from collections.abc import Callable
from typing import TypeVar, cast

from prefect.context import FlowRunContext
from prefect.states import Crashed
from pydantic import BaseModel

from data_specs.errors import DiskFullError, StoreLostError, StoreSilentError

Config = TypeVar("Config", bound=BaseModel)
Result = TypeVar("Result")


def stops_cleanly(function: Callable[[Config], Result]) -> Callable[[Config], Result]:
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
