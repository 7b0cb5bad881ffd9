"""Time the demo alone and next to busy loops. Goal: 600 s alone on two cores; ratio <= 2.5 next to two loops.

A whole demo takes longer than the five minutes of other benchmarks, and each demo runs to its end. `--rounds
0` (the default) times a quick one: preparation, base and initialisation. `--rounds 2` is `make demo`. The
results are only meaningful on a machine without other work.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks._machine import machine

ASKED_SECONDS = 600
ASKED_RATIO = 2.5


def main() -> None:
    """Run the demos, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=0, help="2 is the demo itself.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--busy", type=int, default=0, help="Busy loops beside a second demo; 0: no second.")
    parser.add_argument("--json", action="store_true", help="One object for machines.")
    asked = parser.parse_args()
    figures: dict[str, Any] = {"alone": _demo(asked.rounds, asked.seed)}
    if asked.busy:
        with _busy_loops(asked.busy):
            figures["beside"] = _demo(asked.rounds, asked.seed) | {"busy_loops": asked.busy}
        figures["ratio"] = figures["beside"]["seconds"] / figures["alone"]["seconds"]
    else:
        figures["ratio"] = figures["alone"]["seconds"] / ASKED_SECONDS
    figures["asked"] = ASKED_RATIO if asked.busy else 1
    figures["machine"] = machine()
    print(json.dumps(figures) if asked.json else _table(figures))


def _demo(rounds: int, seed: int) -> dict[str, Any]:
    """Run one demo in a new folder. Returns wall and CPU seconds of all its processes, and phases."""
    before, began = _cpu_seconds(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "flows.cli.main", "demo", "--workspace", str(Path(folder) / "w")]
        sizes = ["--rounds", str(rounds), "--seed", str(seed), "--json"]
        answer = subprocess.run([*command, *sizes], check=True, stdout=subprocess.PIPE).stdout
        seconds = time.perf_counter() - began
    phases = json.loads(answer)["phases"]
    return {
        "seconds": seconds,
        "cpu_seconds": _cpu_seconds() - before,
        "phase_seconds": {phase["name"]: phase["seconds"] for phase in phases},
        "success": {phase["name"]: phase["success_rate"] for phase in phases},
    }


def _cpu_seconds() -> float:
    """CPU seconds of all children that have ended, and of their children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def _busy_loops(count: int) -> Iterator[None]:
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
        for loop in loops:
            loop.wait()


def _table(figures: dict[str, Any]) -> str:
    lines: list[str] = []
    for name in ("alone", "beside"):
        if name in figures:
            run = figures[name]
            lines.append(f"{name}: {run['seconds']:.0f} s, {run['cpu_seconds']:.0f} s of CPU")
            lines += [
                f"  {phase}: {seconds:.0f} s, success {run['success'][phase]:.1%}"
                for phase, seconds in run["phase_seconds"].items()
            ]
    lines.append(f"ratio {figures['ratio']:.2f}, asked {figures['asked']}")
    return "\n".join([*lines, f"machine: {figures['machine']}"])


if __name__ == "__main__":
    main()
