"""Measure whether growth and the discriminator help: RORem's cycle against its controls, over several seeds.

All arms of a seed start from one initial remover and use the same number of training steps:

- ``discriminator`` is RORem.
- ``none`` has no growth.
- ``none_after_humans`` takes people's YES, then everything that the remover makes.
- ``all`` accepts everything. Nobody chooses.

The default is one seed of one round in two arms, which shows little. Three seeds of two rounds show more.

Run: python -m benchmarks.growth --seeds 0 1 2 --arms discriminator none none_after_humans
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks._machine import machine
from benchmarks._processes import ends_in_time
from data_specs.round import CycleResult

ARMS = ("discriminator", "none", "none_after_humans", "all")
_CYCLE = """
import sys
from flows.rorem.cycle import demo_config
from flows.runtime.prefect_server import local_prefect
from flows.rorem.cycle import rorem_cycle
from pathlib import Path
workspace, rounds, seed, acceptance = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
config = demo_config(workspace, rounds, seed).model_copy(update={"acceptance": acceptance})
with local_prefect(workspace / "prefect"):
    print(rorem_cycle(config).model_dump_json())
"""


_CORES = threading.BoundedSemaphore(2)
"""Cycles at once. Each trains on one thread."""


def run_cycle(workspace: Path, rounds: int, seed: int, arm: str) -> CycleResult:
    """Run one cycle in its own process, on one thread."""
    command = [sys.executable, "-c", _CYCLE, str(workspace), str(rounds), str(seed), arm]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    with _CORES, (workspace.parent / f"{workspace.name}.log").open("wb") as log:
        done = subprocess.run(command, env=settings, stdout=subprocess.PIPE, stderr=log, check=True)
    return CycleResult.model_validate_json(done.stdout.splitlines()[-1])


Job = tuple[int, str, "Future[CycleResult]"]


def run_seed(folder: Path, seed: int, arms: list[str], rounds: int, pool: ThreadPoolExecutor) -> list[Job]:
    """Make the initial remover once, then run every arm that is not done, in a copy of its workspace."""
    start = folder / f"{seed}-initial"
    run_cycle(start, 0, seed, "discriminator")
    jobs: list[Job] = []
    for arm in arms:
        workspace = folder / f"{seed}-{arm}"
        shutil.copytree(start, workspace)
        jobs.append((seed, arm, pool.submit(run_cycle, workspace, rounds, seed, arm)))
    return jobs


def row_of(seed: int, arm: str, result: CycleResult) -> dict[str, Any]:
    """The table's row for one cycle."""
    initial, last = result.phases[1], result.phases[-1]
    return {
        "seed": seed,
        "arm": arm,
        "initial": initial.success_rate,
        "last": last.success_rate,
        "gain": last.success_rate - initial.success_rate,
        "kept": sum(phase.kept for phase in result.phases[2:]),
        "phases": [phase.model_dump(mode="json") for phase in result.phases],
        "discriminators": [discriminator.model_dump(mode="json") for discriminator in result.discriminators],
        "clip": [entry.model_dump(mode="json") for entry in result.clip],
        "seconds": result.seconds,
    }


@ends_in_time
def main() -> None:
    """Run the seeds two at a time, and print the table, or one object with ``--json``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["discriminator", "none"])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=None, help="Keep the workspaces here.")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="growth-"))
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(2) as starts, ThreadPoolExecutor(len(ARMS) * len(given.seeds)) as arms:
        pending = [starts.submit(run_seed, folder, s, given.arms, given.rounds, arms) for s in given.seeds]
        jobs = [job for start in pending for job in start.result()]
        rows = [row_of(seed, arm, future.result()) for seed, arm, future in jobs]
    gains = {arm: statistics.mean([r["last"] for r in rows if r["arm"] == arm]) for arm in given.arms}
    others = [rate for arm, rate in gains.items() if arm != "discriminator"]
    ratio = gains["discriminator"] / max(others) if others and max(others) > 0 else None
    if given.json:
        print(json.dumps({"ratio": ratio, "mean_last": gains, "rows": rows, "machine": machine()}, indent=1))
        return
    for row in rows:
        rates = f"{row['initial']:.3f} -> {row['last']:.3f}"
        print(f"seed {row['seed']} {row['arm']:<17} {rates}, kept {row['kept']}")
    print(f"mean success after the last phase: {gains}; discriminator / best control = {ratio}; {machine()}")


if __name__ == "__main__":
    main()
