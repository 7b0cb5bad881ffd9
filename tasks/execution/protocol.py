"""What a flow asks of its workers, and nothing more."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from data_specs.spending import Seconds


class Done(NamedTuple):
    """What a function gave, and what it took."""

    result: Any
    seconds: Seconds


class Workers(Protocol):
    """Do one piece of work at a time each; may be asked from many threads at once."""

    def run(self, name: str, function: Callable[..., Any], *arguments: Any) -> Done:
        """Calls a function of a module on a free worker, and waits for it.

        Args:
            name: Of the work, for people.
            function: Importable where the worker runs; harmless when done twice.
            arguments: Small, and picklable.

        Raises:
            WorkerError: When no worker can be had, or each one that tried has died.
            Exception: Whatever the function raises.
        """
        ...
