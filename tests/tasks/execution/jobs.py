"""What the tests' workers are asked to do; imported in their processes, so it lies in a module of its own."""

import os
import signal
import time
from functools import cache
from pathlib import Path

from data_specs.errors import DiskFullError, InputError


def own_pid(_workspace: object) -> int:
    return os.getpid()


def die(_workspace: object, deaths: Path) -> None:
    """As a worker does whose memory the kernel wants back."""
    with deaths.open("a") as file:
        file.write(f"{os.getpid()}\n")
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(_workspace: object) -> None:
    raise InputError("meta.json", "holds no list")


def fill_the_disk(_workspace: object) -> None:
    raise DiskFullError("/data/shards", "No space left on device")


def seen_gpus(_workspace: object) -> str | None:
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def spin(_workspace: object, seconds: float) -> None:
    """Keeps a core busy."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def propose_counted(workspace, work):
    """``propose``, with a line in ``loads.txt`` each time a network is read from its files."""
    from tasks.rorem.propose import propose

    _count_loads(workspace.root / "loads.txt")
    return propose(workspace, work)


@cache
def _count_loads(notes: Path) -> None:
    from tasks.registry import store as model_store

    read = model_store.network_at

    def noted(folder: Path):
        with notes.open("a") as file:
            file.write(f"{os.getpid()}\n")
        return read(folder)

    model_store.network_at = noted


def numeric_threads(_workspace: object) -> int:
    import torch

    return torch.get_num_threads()
