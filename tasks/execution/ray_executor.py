"""Run work in detached, named actors of a Ray cluster. Ray is an extra and is imported only here."""

import hashlib
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from threading import Lock
from typing import Any, cast

import ray  # pyright: ignore[reportMissingImports] - an extra
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError  # pyright: ignore[reportMissingImports] - an extra
from ray.util import list_named_actors  # pyright: ignore[reportMissingImports] - an extra

from data_specs.errors import WorkerError
from tasks.execution.executor import Done, RayConfig, WorkerDied, timed

# The digest names the code of the work. A long-lived worker with older code is then noticed.


@cache
def code_digest() -> str:
    """10 hexadecimal digits of every Python file in the packages that do the shards' work."""
    digest = hashlib.sha256()
    for room in ("data_specs", "models", "tasks"):
        folder = Path(str(files(room)))
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{room}/{path.relative_to(folder)}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:10]


os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Set before Ray sends usage statistics to its makers.


NAMESPACE = "cleanplate"
_WAIT_SECONDS = 300
"""How long a cluster may take to find a node for an actor, or to start a machine for it."""
_KNOCK_SECONDS = 10
_connecting = Lock()


class ShardWorker:
    """The actor. It does one piece of work at a time and still answers ``open``.

    Raises:
        WorkerError: If its machine has other code than the process that started it.
    """

    def __init__(self, code: str) -> None:
        if code != code_digest():
            raise WorkerError(
                f"{socket.gethostname()} has another version of cleanplate; install the same version there"
            )

    @ray.method(concurrency_group="door")
    def open(self) -> None:
        """Answer at once, whatever the actor is doing."""

    def do(self, function: Callable[..., Any], arguments: Sequence[Any]) -> Done:
        """Do the work."""
        return timed(function, arguments)


class RaySlot:
    """Actor ``number`` of a cluster. The same number and the same code always give the same actor."""

    def __init__(self, config: RayConfig, number: int) -> None:
        self._config = config
        self._number = number
        self._actor: Any = None

    def call(self, function: Callable[..., Any], arguments: Sequence[Any]) -> Done:
        """See ``Slot.call``."""
        if self._actor is None:
            self._actor = self._attached()
        try:
            return ray.get(self._actor.do.remote(function, arguments))
        except RayTaskError as failed:
            raise failed.cause from failed
        except RayError as lost:
            self._actor = None
            raise WorkerDied(_first_line(lost)) from lost

    def close(self) -> None:
        """See ``Slot.close``. A detached actor belongs to its cluster and stays."""
        self._actor = None

    def _attached(self) -> Any:
        """The actor, once it answers. It is started if there is none, or only one with other code."""
        _connect(self._config.address)
        own = f"shard-worker-{self._number}-{code_digest()}"
        _end_others(f"shard-worker-{self._number}-", own)
        deadline = time.monotonic() + _WAIT_SECONDS
        while True:
            actor = _start(own, self._config.gpus_per_worker)
            try:
                ray.get(actor.open.remote(), timeout=max(1.0, deadline - time.monotonic()))
                return actor
            except GetTimeoutError as late:
                raise WorkerError(
                    f"Ray at {self._config.address} has had no resources for worker {self._number} (1 CPU, "
                    f"{self._config.gpus_per_worker:g} GPU) for {_WAIT_SECONDS} s; use fewer workers, or add "
                    "machines"
                ) from late
            except RayActorError as dead:
                # A dead actor keeps its name for a moment: try again. A failed start is an error.
                if dead.actor_init_failed or time.monotonic() > deadline:
                    where = f"Ray at {self._config.address}"
                    why = str(dead).strip().splitlines()[-1]
                    raise WorkerError(f"{where} cannot start worker {self._number}: {why}") from dead
                time.sleep(0.2)


def _connect(address: str) -> None:
    with _connecting:
        if ray.is_initialized():
            return
        try:
            if address != "auto":
                _knock(address)
            ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, ValueError, RuntimeError) as error:
            raise WorkerError(
                f"no Ray cluster answers at {address}; start one with `ray start --head "
                "--include-dashboard=false --disable-usage-stats`, with RAY_AUTH_MODE=token and the same "
                "token"
            ) from error


def _knock(address: str) -> None:
    """Raise OSError at once if nothing listens. Ray would try for more than a minute."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), timeout=_KNOCK_SECONDS).close()


def _start(name: str, gpus: float) -> Any:
    # Ray's annotations do not know the options of an actor that is created by a call.
    remote: Any = cast(Any, ray.remote)(concurrency_groups={"door": 1})(ShardWorker)
    options = {"name": name, "namespace": NAMESPACE, "lifetime": "detached", "get_if_exists": True}
    return remote.options(**options, num_cpus=1, num_gpus=gpus).remote(code_digest())


def _end_others(prefix: str, own: str) -> None:
    """Stop the actors of this number that other code started: they hold the wanted GPU."""
    for name in list_named_actors():
        if name.startswith(prefix) and name != own:
            try:
                ray.kill(ray.get_actor(name, NAMESPACE))
            except ValueError:
                continue  # It has ended by itself.


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
