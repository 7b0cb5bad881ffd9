"""Run work on a pool of workers that may die: a free worker takes it, and another one if that worker dies."""

import sys
import time
from collections.abc import Callable, Sequence
from queue import LifoQueue
from typing import Annotated, Any, Literal, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, Field

from data_specs.errors import WorkerError
from data_specs.seconds import Seconds

# The workers of a flow's shards: a choice in the flow's form, distinguished by ``kind``.


class InlineConfig(BaseModel):
    """One shard after the other, in the flow's own process."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["inline"] = "inline"

    @property
    def count(self) -> int:
        """Number of shards at once."""
        return 1


INLINE = InlineConfig()
"""The default of every shard task."""


class ProcessesConfig(BaseModel):
    """Processes of this machine. If it has GPUs, each process sees one of them."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["processes"] = "processes"
    count: int = Field(
        default=2,
        ge=1,
        le=256,
        description="Number of processes. Use one for each GPU, or one for each core without a GPU.",
    )


class RayConfig(BaseModel):
    """Actors of a Ray cluster. They outlive the flow's process and keep their weights loaded."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["ray"] = "ray"
    address: str = Field(
        default="auto",
        min_length=1,
        description="Address of the cluster's head, such as 127.0.0.1:6379. auto: the cluster of this "
        "machine.",
    )
    count: int = Field(
        default=2, ge=1, le=1024, description="Number of actors. Use one for each GPU of the cluster."
    )
    gpus_per_worker: float = Field(
        default=0,
        ge=0,
        le=64,
        description="Number of GPUs that Ray reserves for each actor. Use 1 on machines with GPUs.",
    )


WorkersConfig = Annotated[InlineConfig | ProcessesConfig | RayConfig, Field(discriminator="kind")]


# The protocol that a flow needs from its workers.


class Done(NamedTuple):
    """The result of a function and its cost."""

    result: Any
    seconds: Seconds


class Workers(Protocol):
    """Each does one piece of work at a time. Many threads may call it at once."""

    def run(self, name: str, function: Callable[..., Any], *arguments: Any) -> Done:
        """Call a function of a module on a free worker, and wait for it.

        Args:
            name: The name of the work, for people.
            function: Importable where the worker runs. Running it twice must be harmless.
            arguments: Small and picklable.

        Raises:
            WorkerError: If no worker is available, every worker that tried has died, or the program ends.
            Exception: Whatever the function raises.
        """
        ...


TRIES = 3
"""Workers that one piece of work may kill. A shard that kills every worker must not go on forever."""


class WorkerDied(Exception):
    """Says that a worker died, and how. The slot raises it for the pool."""


class Slot(Protocol):
    """The place of one worker. If the worker dies, the place stays."""

    def call(self, function: Callable[..., Any], arguments: Sequence[Any]) -> Done:
        """Let the worker do the work. A worker is started if there is none.

        Raises:
            WorkerDied: If the worker was lost during the work. The next call gets another one.
            WorkerError: If no worker is available here.
        """
        ...

    def close(self) -> None:
        """Stop the worker if it belongs to this process."""
        ...


class Pool:
    """Workers in slots of any kind."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self._slots = tuple(slots)
        # The slot that was freed last has a worker with loaded weights. Other slots may have no worker yet.
        self._free: LifoQueue[Slot] = LifoQueue()
        for slot in reversed(self._slots):
            self._free.put(slot)
        self._ended = False

    def run(self, name: str, function: Callable[..., Any], *arguments: Any) -> Done:
        """See ``Workers.run``."""
        death = ""
        for _ in range(TRIES):
            slot = self._free.get()
            try:
                if self._ended:
                    raise WorkerError(f"{name}: the program was told to end; start it again, and it goes on")
                return slot.call(function, arguments)
            except WorkerDied as died:
                death = str(died)
            finally:
                self._free.put(slot)
        raise WorkerError(
            f"{name}: {TRIES} workers ended while they did it, the last with {death}; often memory "
            "runs out, so make the shards smaller and start the flow again"
        )

    def start_no_more(self) -> None:
        """From now on no work begins, also none that a worker died of."""
        self._ended = True

    def close(self) -> None:
        """Stop all workers that belong to this process. Nothing may be running."""
        for slot in self._slots:
            slot.close()


# A function's result with the seconds it took, measured in the process that ran it.


def timed(function: Callable[..., Any], arguments: Sequence[Any]) -> Done:
    """Call the function and measure it. Its exceptions are passed on."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = function(*arguments)
    spent = time.perf_counter() - wall
    gpu = spent if _holds_gpu() else 0.0
    return Done(result, Seconds(wall=spent, cpu=time.process_time() - cpu, gpu=gpu))


def _holds_gpu() -> bool:
    # A process that never imported torch uses no GPU memory, and must not import torch to say so.
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda.is_initialized() and torch.cuda.memory_allocated() > 0
