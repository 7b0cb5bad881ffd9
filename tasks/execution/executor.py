"""A pool of workers that may die: each piece of work goes to a free one, and to another if that one dies."""

import sys
import time
from collections.abc import Callable, Sequence
from queue import LifoQueue
from typing import Annotated, Any, Literal, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, Field

from data_specs.errors import WorkerError
from data_specs.spending import Seconds

# Which workers do a flow's shards: a choice of the flow's form, told apart by ``kind``.


class InlineConfig(BaseModel):
    """One shard after the other, in the flow's own process."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["inline"] = "inline"

    @property
    def count(self) -> int:
        """Shards at once."""
        return 1


INLINE = InlineConfig()
"""What every shard task does unless it is told otherwise."""


class ProcessesConfig(BaseModel):
    """Processes of this machine; where it has GPUs, each process sees one of them."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["processes"] = "processes"
    count: int = Field(
        default=2, ge=1, le=256, description="Processes; as many as GPUs, or as cores where there is none."
    )


class RayConfig(BaseModel):
    """Actors of a Ray cluster, which outlive the flow's process and keep their weights loaded."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["ray"] = "ray"
    address: str = Field(
        default="auto",
        min_length=1,
        description="Of the cluster's head, such as 127.0.0.1:6379; auto finds the one on this machine.",
    )
    count: int = Field(default=2, ge=1, le=1024, description="Actors; as many as the cluster has GPUs.")
    gpus_per_worker: float = Field(
        default=0, ge=0, le=64, description="GPUs that Ray sets aside for each actor: 1 where there are any."
    )


WorkersConfig = Annotated[InlineConfig | ProcessesConfig | RayConfig, Field(discriminator="kind")]


# What a flow asks of its workers, and nothing more.


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


# A function's result with the seconds it took, measured in the process that did it.


def timed(function: Callable[..., Any], arguments: Sequence[Any]) -> Done:
    """Calls the function; whatever it raises is raised."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = function(*arguments)
    spent = time.perf_counter() - wall
    gpu = spent if _holds_gpu() else 0.0
    return Done(result, Seconds(wall=spent, cpu=time.process_time() - cpu, gpu=gpu))


def _holds_gpu() -> bool:
    # A process that never imported torch holds none, and must not import it to say so.
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda.is_initialized() and torch.cuda.memory_allocated() > 0
