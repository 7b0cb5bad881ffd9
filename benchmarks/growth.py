"""Measure whether growth and the discriminator help: RORem's cycle against its controls, over several seeds.

All arms of a seed start from one initial remover and use the same number of training steps:

- ``discriminator`` is RORem.
- ``none`` has no growth.
- ``none_after_humans`` takes people's YES, then everything that the remover makes.
- ``all`` accepts everything. Nobody chooses.

``ratio`` is the mean success of ``discriminator`` after the last phase, divided by that of the best control.

The default is one seed of one round in two arms with a tenth of the demo's items, a fifth of its training
steps and no composites. It shows that the comparison works, and no more. `--demo` takes the demo's sizes. The
results in docs/experiments/growth.md come from three seeds of two rounds, which take hours.

Run: python -m benchmarks.growth --demo --seeds 0 1 2 --rounds 2 --arms discriminator none none_after_humans
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from benchmarks._killing import ROOT
from benchmarks._machine import machine
from benchmarks._processes import ends_in_time
from data_specs.round import CycleResult
from flows.rorem.cycle import CycleConfig, demo_config
from flows.rorem.initial_data import PreparationSettings
from flows.runtime.timely_end import descendants, kill

ARMS = ("discriminator", "none", "none_after_humans", "all")
_AT_ONCE = 2
"""Cycles that run beside each other. Each trains on one thread."""
_CYCLE = """
import sys
from pathlib import Path
from benchmarks.growth import cycle_config
from flows.rorem.cycle import rorem_cycle
from flows.runtime.prefect_server import local_prefect
config = cycle_config(*sys.argv[1:])
with local_prefect(config.workspace / "prefect"):
    print(rorem_cycle(config).model_dump_json())
"""
_SMALL = {
    "human_items": 50,
    "automation_items": 40,
    "calibration_items": 30,
    "discriminator_test_items": 40,
    "preparation": PreparationSettings(initial_pairs=80, validation_pairs=40, test_pairs=100),
    "composites": None,
}
_SMALL_STEPS = {"initialisation": 30, "retraining": 28, "discriminator_training": 80}
"""Training steps of the small size."""


def cycle_config(workspace: str, rounds: str, seed: str, arm: str, size: str) -> CycleConfig:
    """The settings of one cycle. ``size`` is demo or small."""
    config = demo_config(Path(workspace), int(rounds), int(seed))
    changes = {} if size == "demo" else _SMALL | _small_trainings(config)
    return config.model_copy(update={"acceptance": arm, **changes})


def _small_trainings(config: CycleConfig) -> dict[str, Any]:
    return {
        name: getattr(config, name).model_copy(update={"steps": steps})
        for name, steps in _SMALL_STEPS.items()
    }


def run_cycle(workspace: Path, rounds: int, seed: int, arm: str, size: str) -> CycleResult:
    """Run one cycle in its own process, on one thread. Run again, it goes on where it stood."""
    command = [sys.executable, "-c", _CYCLE, str(workspace), str(rounds), str(seed), arm, size]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with (workspace.parent / f"{workspace.name}.log").open("wb") as log:
        done = subprocess.run(command, env=settings, stdout=subprocess.PIPE, stderr=log, check=True)
    return CycleResult.model_validate_json(done.stdout.splitlines()[-1])


Job = tuple[int, str, "Future[CycleResult]"]


def run_seed(
    folder: Path, seed: int, arms: list[str], rounds: int, size: str, pool: ThreadPoolExecutor
) -> list[Job]:
    """Make the initial remover once, then run every arm in a copy of its workspace."""
    start = folder / f"{seed}-initial"
    run_cycle(start, 0, seed, "discriminator", size)
    jobs: list[Job] = []
    for arm in arms:
        workspace = folder / f"{seed}-{arm}"
        if not workspace.exists():
            copied = folder / f"{seed}-{arm}.copy"
            shutil.rmtree(copied, ignore_errors=True)
            shutil.copytree(start, copied)
            copied.rename(workspace)
        jobs.append((seed, arm, pool.submit(run_cycle, workspace, rounds, seed, arm, size)))
    return jobs


def run_all(folder: Path, seeds: list[int], arms: list[str], rounds: int, size: str) -> list[dict[str, Any]]:
    """The table's rows. A signal or an error ends the cycles that run, and no other begins."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            starts = [pool.submit(run_seed, folder, seed, arms, rounds, size, pool) for seed in seeds]
            jobs = [job for start in starts for job in start.result()]
            return [row_of(seed, arm, future.result()) for seed, arm, future in jobs]
        except BaseException:
            # Leaving the pool's block waits for its cycles.
            pool.shutdown(wait=False, cancel_futures=True)
            for pid in descendants(os.getpid()):
                kill(pid)
            raise


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
    """Run the cycles two at a time, and print the table, or one object with ``--json``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["discriminator", "none"])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--demo", action="store_true", help="The demo's sizes. Takes hours for three seeds.")
    parser.add_argument(
        "--folder", type=Path, default=None, help="Keep the workspaces here, and go on there."
    )
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    size = "demo" if given.demo else "small"
    with nullcontext(given.folder) if given.folder else tempfile.TemporaryDirectory() as folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        rows = run_all(Path(folder), given.seeds, given.arms, given.rounds, size)
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
