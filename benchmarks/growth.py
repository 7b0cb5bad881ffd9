"""Measure whether growth and the discriminator help: RORem's cycle against its controls, over several seeds.

All arms of a seed start from one initial remover and use the same number of training steps:

- ``discriminator`` is RORem.
- ``humans_only`` takes people's YES, then nothing new.
- ``oracle`` takes people's YES, then all that is truly good: the most that any judge can bring.
- ``none_after_humans`` takes people's YES, then everything that the remover makes.
- ``all`` accepts everything. Nobody chooses.
- ``none`` has no growth.

The last removers of all arms are compared on the same test scenes, which no phase has seen. ``ratio`` is the
mean success of ``discriminator``, divided by that of the best control other than ``oracle``.

The default is one seed of one round in two arms with a tenth of the demo's items, a fifth of its training
steps and no composites. It shows that the comparison works, and no more. `--demo` takes the demo's trainings
and composites, with 600 items for people, 600 answers to calibrate, 1,000 fresh items and 500 test scenes.
The results in docs/experiments/growth.md come from three seeds.

Run: python -m benchmarks.growth --demo --seeds 0 1 2 --arms discriminator humans_only oracle
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from benchmarks._killing import ROOT
from benchmarks._machine import machine
from benchmarks._paired import paired
from benchmarks._processes import ends_in_time
from data_specs.keys import derive_key
from data_specs.round import CycleResult
from flows.rorem.cycle import CycleConfig, demo_config
from flows.rorem.initial_data import PreparationSettings
from flows.rorem.phases import as_remover
from flows.runtime.timely_end import descendants, kill
from tasks.evaluation.evaluate import read_triplets
from tasks.evaluation.success import assess
from tasks.execution import INLINE
from tasks.registry.removers import load_remover
from tasks.storage.workspace import Workspace

ARMS = ("discriminator", "humans_only", "oracle", "none_after_humans", "all", "none")
_AT_ONCE = 2
"""Cycles that run beside each other. Each trains on one thread."""
_CYCLE = """
import json
import sys
from benchmarks.growth import cycle_config, success_by_scene
from flows.rorem.cycle import rorem_cycle
from flows.runtime.prefect_server import local_prefect
config = cycle_config(*sys.argv[1:])
with local_prefect(config.workspace / "prefect"):
    print(rorem_cycle(config).model_dump_json())
print(json.dumps(success_by_scene(config)))
"""
_SMALL = {
    "human_items": 50,
    "automation_items": 40,
    "calibration_items": 30,
    "discriminator_test_items": 40,
    "preparation": PreparationSettings(initial_pairs=80, validation_pairs=40, test_pairs=100),
    "composites": None,
}
_MEASURED = {
    "human_items": 600,
    "automation_items": 500,
    "calibration_items": 600,
    "discriminator_test_items": 1000,
    "labelled_pairs": 400,
    "preparation": PreparationSettings(test_pairs=500),
}
"""What ``--demo`` measures on: more than the demo does, for narrow intervals."""
_SMALL_STEPS = {"initialisation": 30, "retraining": 28, "discriminator_training": 80}
"""Training steps of the small size."""


def cycle_config(workspace: str, rounds: str, seed: str, arm: str, size: str) -> CycleConfig:
    """The settings of one cycle. ``size`` is demo or small."""
    config = demo_config(Path(workspace), int(rounds), int(seed))
    changes = _MEASURED if size == "demo" else _SMALL | _small_trainings(config)
    # Two cycles run at once, each on one core.
    return config.model_copy(update={"acceptance": arm, "workers": INLINE, **changes})


def _small_trainings(config: CycleConfig) -> dict[str, Any]:
    return {
        name: getattr(config, name).model_copy(update={"steps": steps})
        for name, steps in _SMALL_STEPS.items()
    }


def success_by_scene(config: CycleConfig) -> dict[str, bool]:
    """Whether the workspace's last remover succeeds on each test triplet, by the triplet's key."""
    workspace = Workspace.open(config.workspace)
    champion = workspace.ledger().models.champion("remover")
    assert champion is not None, "the cycle promoted one"
    remover = load_remover(workspace, as_remover(champion, config.sampling))
    refs = workspace.ledger().shards.all(stage="triplets")
    triplets = read_triplets(workspace, refs, "test", config.evaluation_source)
    quality, good = config.oracle.quality, {}
    for start in range(0, len(triplets), 50):
        part = triplets[start : start + 50]
        seeds = [int(derive_key("growth", triplet.key)[:12], 16) for triplet in part]
        removals = remover.remove([t.source for t in part], [t.mask for t in part], seeds)
        for t, removal in zip(part, removals, strict=True):
            good[t.key] = assess(removal, t.source, t.mask, t.ground_truth, quality).success
    return good


def run_cycle(
    workspace: Path, rounds: int, seed: int, arm: str, size: str
) -> tuple[CycleResult, dict[str, bool]]:
    """Run one cycle in its own process, on one thread. Run again, it goes on where it stood.

    Returns:
        The cycle's result, and the last remover's success on each test scene.
    """
    command = [sys.executable, "-c", _CYCLE, str(workspace), str(rounds), str(seed), arm, size]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with (workspace.parent / f"{workspace.name}.log").open("wb") as log:
        done = subprocess.run(command, env=settings, stdout=subprocess.PIPE, stderr=log, check=True)
    result, scenes = done.stdout.splitlines()[-2:]
    return CycleResult.model_validate_json(result), json.loads(scenes)


Ran = tuple[CycleResult, dict[str, bool]]
Job = tuple[int, str, "Future[Ran]"]


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


Row = dict[str, Any]


def run_all(folder: Path, seeds: list[int], arms: list[str], rounds: int, size: str) -> list[Row]:
    """The table's rows. A signal or an error ends the cycles that run, and no other begins."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            starts = [pool.submit(run_seed, folder, seed, arms, rounds, size, pool) for seed in seeds]
            jobs = [job for start in starts for job in start.result()]
            return [row_of(seed, arm, *future.result()) for seed, arm, future in jobs]
        except BaseException:
            # Leaving the pool's block waits for its cycles.
            pool.shutdown(wait=False, cancel_futures=True)
            for pid in descendants(os.getpid()):
                kill(pid)
            raise


def row_of(seed: int, arm: str, result: CycleResult, scenes: dict[str, bool]) -> Row:
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
        "scenes": scenes,
    }


def lead(rows: Sequence[Row], control: str) -> dict[str, Any]:
    """How far ``discriminator`` leads a control, paired by scene."""
    scenes = {(row["seed"], row["arm"]): row["scenes"] for row in rows}
    seeds = sorted({row["seed"] for row in rows})
    keys = {seed: list(scenes[seed, control]) for seed in seeds}
    ours, others = (
        [[scenes[seed, arm][key] for key in keys[seed]] for seed in seeds]
        for arm in ("discriminator", control)
    )
    return {"control": control, **paired(ours, others)}


@ends_in_time
def main() -> None:
    """Run the cycles two at a time, and print the table, or one object with ``--json``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["discriminator", "humans_only"])
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
    means = {
        arm: statistics.mean([sum(r["scenes"].values()) / len(r["scenes"]) for r in rows if r["arm"] == arm])
        for arm in given.arms
    }
    leads = [lead(rows, arm) for arm in given.arms if arm != "discriminator" and "discriminator" in means]
    others = [rate for arm, rate in means.items() if arm not in ("discriminator", "oracle")]
    ratio = means["discriminator"] / max(others) if "discriminator" in means and any(others) else None
    rows = [{name: value for name, value in row.items() if name != "scenes"} for row in rows]
    if given.json:
        figures = {"ratio": ratio, "mean_success": means, "leads": leads, "rows": rows, "machine": machine()}
        print(json.dumps(figures, indent=1))
        return
    for row in rows:
        rates = f"{row['initial']:.3f} -> {row['last']:.3f}"
        print(f"seed {row['seed']} {row['arm']:<17} {rates}, kept {row['kept']}")
    for one in leads:
        points = f"{100 * one['lead']:+.1f} ± {100 * one['error']:.1f} points"
        print(f"against {one['control']:<17} {points}, {one['won']} scenes won, {one['lost']} lost")
    print(f"mean success on the test scenes: {means}; ratio = {ratio}; {machine()}")


if __name__ == "__main__":
    main()
