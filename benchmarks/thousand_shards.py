"""Measure what a thousand tiny shards cost Prefect's client and server, and whether memory stays constant.

The compositing flow runs in its own process, with a real server in another. Then the same functions run in a
plain loop in a third. All results cover shard 200 to the last, after every start-up. ``growth`` is that of
resident memory over these shards. ``ratio`` is the flow's wall time of a shard, divided by the loop's.

Run: python -m benchmarks.thousand_shards [--shards 300] [--json]

300 shards show the cost of one. Only `--shards 1000` shows whether memory stays constant.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
from prefect.settings import PREFECT_API_URL
from rich.console import Console
from rich.table import Table

from benchmarks._machine import machine
from benchmarks._processes import command_of, cpu_seconds, ends_in_time, resident_mib
from flows.objectclear.compositing import (
    CompositingConfig,
    compose_works,
    cut_out_works,
    objectclear_compositing,
    plate_works,
)
from flows.runtime.prefect_server import Server, local_prefect
from flows.runtime.timely_end import descendants
from tasks.objectclear.composite import compose_draws
from tasks.objectclear.cutout import cut_out_pairs
from tasks.objectclear.plate import find_plates
from tasks.sources.backgrounds import SyntheticBackgrounds
from tasks.sources.pairs import SyntheticPairs
from tasks.sources.synthetic.samples import SyntheticConfig
from tasks.storage.prefect_password import make_password
from tasks.storage.workspace import Workspace

FLOW, LOOP = "flow over shards", "plain loop"
SETTLED = 200
"""Number of shards after which everything is imported and every pool is filled."""
_EVERY = 50
_LOOK_SECONDS = 0.1
_SYNTHETIC = SyntheticConfig(size_px=64, seed=8)


class Sample(NamedTuple):
    """Resources that client and server have used after a number of shards."""

    shards: int
    seconds: float
    client_cpu: float
    client_mib: float
    server_cpu: float
    server_mib: float
    database_bytes: int


@ends_in_time
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=300, help=f"more than {SETTLED}")
    parser.add_argument("--json", action="store_true", dest="as_json")
    arguments = parser.parse_args()
    if arguments.shards <= SETTLED:
        parser.error(f"--shards must be above {SETTLED}, since the figures begin there")
    # Prefect gets the address of a server that does not answer, so that a new one of our own is measured.
    os.environ["PREFECT_API_URL"] = "http://127.0.0.1:9/api"
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".thousand_shards-") as folder:
        home = Path(folder) / "prefect"
        with local_prefect(home):
            own = Server(str(PREFECT_API_URL.value()), make_password(home))
            os.environ |= {**own.environment(), "PREFECT_HOME": str(home)}
            samples = {
                name: watched(way, tiny(Path(folder) / f"workspace-{number}", arguments.shards), home)
                for number, (name, way) in enumerate({FLOW: as_flow, LOOP: as_loop}.items())
            }
    _print(samples, figures(samples), arguments.as_json)


def tiny(place: Path, shards: int) -> CompositingConfig:
    """Few cut-outs and plates of one split, then shards of four attempts each."""
    return CompositingConfig(
        workspace=place,
        pairs=(SyntheticPairs(renderer=_SYNTHETIC, count=40, use_rendered_truth=True),),
        backgrounds=(SyntheticBackgrounds(renderer=_SYNTHETIC, scenes=20, use_rendered_truth=True),),
        attempts=4 * shards,
        shard_attempts=4,
    )


def as_flow(config: CompositingConfig) -> None:
    """Run it as `cleanplate composite` does."""
    cv2.setNumThreads(1)
    with local_prefect(config.workspace / "unused"):
        objectclear_compositing(config)


def as_loop(config: CompositingConfig) -> None:
    """Run the functions of the flow's tasks, without Prefect."""
    cv2.setNumThreads(1)
    workspace = Workspace.open(config.workspace)
    cut = [cut_out_pairs(workspace, work).shard for work in cut_out_works(config)]
    found = [find_plates(workspace, work).shard for work in plate_works(config)]
    cutouts, plates = ([ref for ref in refs if ref is not None] for refs in (cut, found))
    for work in compose_works(config, workspace, cutouts, plates):
        compose_draws(workspace, work)


def watched(way: Callable[[CompositingConfig], None], config: CompositingConfig, home: Path) -> list[Sample]:
    """Run it in its own process. Sample after each number of shards, and at the end.

    Raises:
        SystemExit: If the process fails.
    """
    (server,) = (pid for pid in descendants(os.getpid()) if "flows.runtime.server_process" in command_of(pid))
    process = multiprocessing.get_context("spawn").Process(target=way, args=(config,))
    start, samples = time.perf_counter(), list[Sample]()
    process.start()
    assert process.pid is not None, "it has started"
    while process.is_alive():
        shards = sum(1 for _ in (config.workspace / "shards").glob("*-composites-[0-9]*.tar"))
        if shards >= (samples[-1].shards + _EVERY if samples else 1):
            used = (cpu_seconds(process.pid), resident_mib(process.pid), cpu_seconds(server))
            size = sum(path.stat().st_size for path in home.glob("prefect.db*"))
            samples.append(Sample(shards, time.perf_counter() - start, *used, resident_mib(server), size))
        time.sleep(_LOOK_SECONDS)
    process.join()
    if process.exitcode:
        raise SystemExit(f"the process of {way.__name__} ended with {process.exitcode}")
    return samples


def figures(samples: dict[str, list[Sample]]) -> dict[str, Any]:
    """Cost of a shard over the settled part, and the growth meanwhile."""
    first, last = _stretch(samples[FLOW])
    count = last.shards - first.shards
    loop_first, loop_last = _stretch(samples[LOOP])
    loop_count = loop_last.shards - loop_first.shards
    client = (last.client_cpu - first.client_cpu) / count
    functions = (loop_last.client_cpu - loop_first.client_cpu) / loop_count
    wall = (last.seconds - first.seconds) / count
    loop_wall = (loop_last.seconds - loop_first.seconds) / loop_count
    return {
        "ratio": wall / loop_wall,
        "from_shard": first.shards,
        "to_shard": last.shards,
        "wall_ms_a_shard": 1000 * wall,
        "loop_wall_ms_a_shard": 1000 * loop_wall,
        "client_cpu_ms_a_shard": 1000 * client,
        "functions_cpu_ms_a_shard": 1000 * functions,
        "client_cpu_ms_beyond_the_functions": 1000 * (client - functions),
        "server_cpu_ms_a_shard": 1000 * (last.server_cpu - first.server_cpu) / count,
        "client_growth_mib": last.client_mib - first.client_mib,
        "loop_growth_mib": loop_last.client_mib - loop_first.client_mib,
        "server_growth_mib": last.server_mib - first.server_mib,
        "database_kb_a_shard": (last.database_bytes - first.database_bytes) / count / 1000,
        "machine": machine(),
    }


def _stretch(samples: list[Sample]) -> tuple[Sample, Sample]:
    return next(sample for sample in samples if sample.shards >= SETTLED), samples[-1]


def _print(samples: dict[str, list[Sample]], found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        of_ways = {name: [each._asdict() for each in way] for name, way in samples.items()}
        print(json.dumps({**found, "title": "a thousand shards", "samples": of_ways}, indent=2))
        return
    console = Console()
    for name, way in samples.items():
        table = Table(*(field.replace("_", " ") for field in Sample._fields), title=name)
        for sample in way:
            table.add_row(*(f"{value:.1f}" if isinstance(value, float) else f"{value:,}" for value in sample))
        console.print(table)
    for name, value in found.items():
        console.print(f"{name}: {value:.2f}" if isinstance(value, float) else f"{name}: {value}")


if __name__ == "__main__":
    main()
