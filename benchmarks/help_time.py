"""Measure the processor time of each command's `--help`. Goal: ratio <= 1.

``ratio`` is the slowest command's median divided by 1 s, user and system time of its whole process. A
control, `python -c "import typer"`, is measured too. Each round runs all of them in another order.

Run: python -m benchmarks.help_time [--runs 5] [--json]
"""

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks._machine import machine
from flows.cli.main import app

GOAL_S = 1.0
CONTROL = "control: import typer"
ROOT = Path(__file__).parents[1]


def help_calls() -> list[tuple[str, ...]]:
    """The words of every `--help`: of `cleanplate`, of each command, and of its subcommands."""
    return [(*words, "--help") for words in _commands(typer.main.get_command(app), ())]


def _commands(command: Any, words: tuple[str, ...], parent: Any = None) -> Iterator[tuple[str, ...]]:
    yield words
    # Parsed as for help: required arguments may be missing.
    context = command.make_context(words[-1] if words else "", [], parent=parent, resilient_parsing=True)
    real = context.command
    for name in real.list_commands(context) if hasattr(real, "list_commands") else ():
        yield from _commands(real.get_command(context, name), (*words, name), context)


def cpu_seconds(command: Sequence[str]) -> float:
    """User and system time of a command that must succeed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def measure(runs: int, seed: int = 0) -> dict[str, list[float]]:
    """Seconds of each run of each command, after one round that is not counted."""
    python = sys.executable
    commands = {
        "cleanplate " + " ".join(words): [python, "-m", "flows.cli.main", *words] for words in help_calls()
    }
    commands[CONTROL] = [python, "-c", "import typer"]
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    chance = random.Random(seed)
    for number in range(runs + 1):
        for name in chance.sample(list(commands), len(commands)):
            took = cpu_seconds(commands[name])
            if number:
                seconds[name].append(took)
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true", dest="as_json")
    arguments = parser.parse_args()
    seconds = measure(arguments.runs)
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    worst = max((name for name in medians if name != CONTROL), key=lambda name: medians[name])
    figures = {
        "ratio": medians[worst] / GOAL_S,
        "goal": 1.0,
        "worst": worst,
        "control_seconds": medians[CONTROL],
        "runs": arguments.runs,
        "machine": machine(),
    }
    if arguments.as_json:
        print(json.dumps({**figures, "cpu_seconds": medians}, indent=2))
        return
    table = Table("command", "CPU s, median", "least", "greatest")
    for name in sorted(medians, key=lambda name: -medians[name]):
        table.add_row(
            name, *(f"{each:.2f}" for each in (medians[name], min(seconds[name]), max(seconds[name])))
        )
    console = Console()
    console.print(table)
    for name, value in figures.items():
        console.print(f"{name}: {value}", highlight=False)


if __name__ == "__main__":
    main()
