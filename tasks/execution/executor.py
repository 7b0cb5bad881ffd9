"""A pool of workers that may die: each piece of work goes to a free one, and to another if that one dies."""

from collections.abc import Callable, Sequence
from queue import LifoQueue
from typing import Any, Protocol

from data_specs.errors import WorkerError
from tasks.execution.protocol import Done

TRIES = 3
"""Workers that one piece of work may cost: a shard that kills whoever takes it must not go on for ever."""


class WorkerDied(Exception):
    """Says that a worker died and how, from its slot to the pool."""


class Slot(Protocol):
    """The place of one worker: whoever works there dies, the place stays."""

    def call(self, function: Callable[..., Any], arguments: Sequence[Any]) -> Done:
        """Has the worker do it, who is started where there is none.

        Raises:
            WorkerDied: When the worker was lost on the way; the next call has another one.
            WorkerError: When no worker can be had here.
        """
        ...

    def close(self) -> None:
        """Lets the worker go, if it belongs to this process."""
        ...


class Pool:
    """Workers over slots of any kind."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self._slots = tuple(slots)
        # The slot that was free last has its worker and its weights; others may not have started one yet.
        self._free: LifoQueue[Slot] = LifoQueue()
        for slot in reversed(self._slots):
            self._free.put(slot)

    def run(self, name: str, function: Callable[..., Any], *arguments: Any) -> Done:
        """See ``Workers.run``."""
        death = ""
        for _ in range(TRIES):
            slot = self._free.get()
            try:
                return slot.call(function, arguments)
            except WorkerDied as died:
                death = str(died)
            finally:
                self._free.put(slot)
        raise WorkerError(
            f"{name}: each of {TRIES} workers died of it, the last so: {death}; often memory runs out, so "
            "make its shards smaller, then start the flow again, which goes on from here"
        )

    def close(self) -> None:
        """Lets all workers go that belong to this process; nothing must be running."""
        for slot in self._slots:
            slot.close()
