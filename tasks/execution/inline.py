"""The flow's own process as the only worker."""

from collections.abc import Callable
from typing import Any

from tasks.execution.protocol import Done
from tasks.execution.timed import timed


class InlineWorkers:
    """Calls the function, then and there."""

    def run(self, name: str, function: Callable[..., Any], *arguments: Any) -> Done:
        """See ``Workers.run``."""
        return timed(function, arguments)
