"""Writers that are killed and writers that race, in a process of its own; run by test_exactly_once.

The parent forks each writer with everything imported already, so that a kill lands in the work.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_specs.shard import EncodedSample
from tasks.storage.shards import write_shard
from tasks.storage.workspace import Workspace

SHARDS = 10


def samples(index: int) -> Iterator[EncodedSample]:
    """Eight samples of 40 kB, the same for the same shard."""
    noise = np.random.default_rng(index)
    for number in range(8):
        time.sleep(0.002)
        yield EncodedSample(
            f"sample-{index}-{number}",
            {"source.png": noise.bytes(40_000), "json": b"{}"},
            f"scene-{index}",
            "train",
        )


def write_all(root: Path, begun: Path) -> None:
    """Everything one run does; what it starts to encode is noted in ``begun``."""
    workspace = Workspace.open(root)
    for index in range(SHARDS):
        with begun.open("a") as log:
            work = workspace.ledger().shards.find(f"work {index}")
            log.write(f"{index}\n" if work is None else "")
        write_shard(
            workspace,
            stage="triplets",
            round=0,
            index=index,
            input_digest=f"work {index}",
            samples=samples(index),
        )


def start(root: Path, begun: Path) -> int:
    """A forked writer's process id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        write_all(root, begun)
        status = 0
    finally:
        os._exit(status)


def kill_and_start_again(folder: Path, kills: int) -> None:
    """Kills writer after writer, then lets one end; a finished shard may not be begun again."""
    chance, root, begun = random.Random(0), folder / "killed", folder / "begun"
    finished: set[int] = set()
    landed = 0
    while landed < kills:
        begun.write_text("")
        child = start(root, begun)
        time.sleep(chance.uniform(0.005, 0.12))
        os.kill(child, signal.SIGKILL)
        landed += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        again = finished & {int(line) for line in begun.read_text().split()}
        if again:
            raise SystemExit(f"shards {again} were done twice")
        if (root / "ledger.sqlite").exists():
            finished = {ref.index for ref in Workspace.open(root).ledger().shards.all()}
        if len(finished) == SHARDS:
            raise SystemExit(f"only {landed} kills landed before the work was done")
    write_all(root, begun)


def race(folder: Path) -> None:
    """Three writers at the same work."""
    children = [start(folder / "raced", folder / "begun") for _ in range(3)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    if any(codes):
        raise SystemExit(f"the racing writers ended with {codes}")


if __name__ == "__main__":
    here = Path(sys.argv[1])
    if sys.argv[2] == "kill":
        kill_and_start_again(here, kills=10)
    else:
        race(here)
    write_all(here / "unbroken", here / "begun")
