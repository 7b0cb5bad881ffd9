"""Time a flow over shards against the same functions in a plain loop. Goal: ratio <= 1.05.

A shard takes 5–15 s of work. Prefect's server is a real one in its own process. ``ratio`` is the median over
the rounds of flow ÷ loop, one after the other.

Run: python -m benchmarks.flow_overhead [--samples 800] [--shards 2] [--runs 3] [--json]

It takes one to two minutes on two idle cores. `--samples 2500 --shards 3 --runs 4` gives the ratio to a
hundredth.
"""

import argparse
import itertools
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
from prefect import flow

from benchmarks._alternate import alternate, ratio_of, report
from benchmarks._machine import machine
from benchmarks._processes import ends_in_time
from flows.runtime.prefect_server import local_prefect
from tasks.sources.synthetic.samples import SyntheticConfig
from tasks.sources.synthetic.shards import RenderWork, render, render_shard
from tasks.storage.workspace import Workspace

GOAL = 1.05
FLOW, LOOP = "flow over shards", "plain loop"


@flow(name="render-shards")
def render_shards(workspace: Workspace, works: Sequence[RenderWork]) -> None:
    """Run a task for each shard, one after the other, as the cycle does."""
    for work in works:
        render_shard(workspace, work)


@ends_in_time
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=800, help="rendered samples a shard")
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true", dest="as_json")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    # Prefect gets the address of a server that does not answer, so that a new one of our own is measured.
    os.environ["PREFECT_API_URL"] = "http://127.0.0.1:9/api"
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".flow_overhead-") as folder,
        local_prefect(Path(folder) / "prefect"),
    ):
        seconds = _measure(Path(folder), works(arguments.samples, arguments.shards), arguments.runs)
    figures = {
        **ratio_of(seconds, LOOP, FLOW),
        "goal": GOAL,
        "shard_seconds": min(seconds[LOOP]) / arguments.shards,
        "machine": machine(),
    }
    report("a flow's cost", seconds, arguments.shards, figures, arguments.as_json)


def works(samples: int, shards: int) -> list[RenderWork]:
    """Shards of real work, each with its own samples."""
    return [
        RenderWork(
            round=0,
            index=number,
            stage="triplets",
            renderer=SyntheticConfig(),
            first=number * samples,
            count=samples,
        )
        for number in range(shards)
    ]


def _measure(folder: Path, shards: Sequence[RenderWork], runs: int) -> dict[str, list[float]]:
    numbers = itertools.count()

    def fresh() -> Workspace:
        """A new workspace.

        Prefect's cache keys and the ledger belong to one workspace, so nothing is cached.
        """
        return Workspace.open(folder / f"workspace-{next(numbers)}")

    def as_flow() -> None:
        workspace = fresh()
        render_shards(workspace, shards)
        shutil.rmtree(workspace.root)

    def as_loop() -> None:
        workspace = fresh()
        for work in shards:
            render(workspace, work)
        shutil.rmtree(workspace.root)

    return alternate({LOOP: as_loop, FLOW: as_flow}, runs)


if __name__ == "__main__":
    main()
