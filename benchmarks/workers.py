"""Measure the cost of sending a shard to a worker: a plain loop, worker processes and Ray's actors, in turn.

Each way runs the same jobs on one worker that is started and has its weights. ``trip_ms`` is the time of a
job without work. ``ratio`` is how many times as fast the plain loop does jobs with some work as worker
processes, ``ratio_of_actors`` as Ray's actors.

Run: python -m benchmarks.workers [--trips 500] [--shards 20] [--seconds 0.5] [--runs 4] [--json]
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks._alternate import alternate, ratio_of, report
from benchmarks._machine import machine
from benchmarks._processes import ends_in_time
from benchmarks._ray_cluster import ray_cluster
from tasks.execution import INLINE, ProcessesConfig, RayConfig
from tasks.execution.executor import Pool, Workers
from tasks.execution.local_executors import open_workers

LOOP, PROCESS, ACTOR = "plain loop", "worker process", "Ray's actor"


@ends_in_time
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trips", type=int, default=500, help="jobs of no work")
    parser.add_argument("--shards", type=int, default=20, help="jobs of some work a run")
    parser.add_argument("--seconds", type=float, default=0.5, help="one core's, of such a job")
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--json", action="store_true", dest="as_json")
    arguments = parser.parse_args()
    with _opened() as (ways, starts):
        trips = {name: _trip_ms(workers, arguments.trips) for name, workers in ways.items()}
        jobs = {name: _jobs(workers, arguments.shards, arguments.seconds) for name, workers in ways.items()}
        seconds = alternate(jobs, arguments.runs)
    figures = {
        **{f"first job of {name}, s": start for name, start in starts.items()},
        **{f"trip_ms of {name}": trip for name, trip in trips.items()},
        **ratio_of(seconds, LOOP, PROCESS),
        "ratio_of_actors": ratio_of(seconds, LOOP, ACTOR)["ratio"],
        "machine": machine(),
    }
    report("a worker's cost", seconds, arguments.shards, figures, arguments.as_json)


@contextmanager
def _opened() -> Iterator[tuple[dict[str, Workers], dict[str, float]]]:
    """Each way with its worker started, and the seconds until the first job was done."""
    with ray_cluster(cpus=1) as address:
        ways = {
            LOOP: open_workers(INLINE),
            PROCESS: open_workers(ProcessesConfig(count=1)),
            ACTOR: open_workers(RayConfig(address=address, count=1)),
        }
        starts: dict[str, float] = {}
        for name, workers in ways.items():
            start = time.perf_counter()
            workers.run("first", work, 0.0)
            starts[name] = time.perf_counter() - start
        yield ways, starts
        for workers in ways.values():
            if isinstance(workers, Pool):
                workers.close()
        import ray  # pyright: ignore[reportMissingImports] - an extra

        ray.shutdown()


def work(seconds: float) -> None:
    """Keep a core busy for this many of its own seconds, whatever else the machine does."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def _trip_ms(workers: Workers, trips: int) -> float:
    start = time.perf_counter()
    for _ in range(trips):
        workers.run("trip", work, 0.0)
    return 1000 * (time.perf_counter() - start) / trips


def _jobs(workers: Workers, shards: int, seconds: float) -> Callable[[], None]:
    def run() -> None:
        for _ in range(shards):
            workers.run("job", work, seconds)

    return run


if __name__ == "__main__":
    # Workers find functions by their module's name. In the workers it is not __main__.
    from benchmarks.workers import main as main_by_name

    main_by_name()
