"""Time several ways of doing one thing in alternation, so that a busy machine affects all of them equally."""

import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def alternate(
    ways: Mapping[str, Callable[[], object]], runs: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each run of each way, after one run of each that is not counted.

    Every round runs each way once, in an order that the round's number draws: a fixed order misleads, because
    each way then runs on the same memory in every round. With ``time.process_time`` as clock the
    seconds are those of one core, whatever else the machine does. Each run is reported on standard error.
    Round 0 is the one that is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(runs + 1):
        for name, way in random.Random(number).sample(list(ways.items()), len(ways)):
            start = clock()
            way()
            if number:
                seconds[name].append(clock() - start)
            print(f"{name}: {clock() - start:.1f} s, round {number} of {runs}", file=sys.stderr, flush=True)
    return seconds


def ratio_of(seconds: Mapping[str, list[float]], of: str, to: str) -> dict[str, Any]:
    """How many times as fast the way ``of`` is as ``to``, round by round.

    Returns:
        ``ratio`` (median over the rounds), ``ratio_low`` and ``ratio_high`` (minimum and maximum).
    """
    ratios = [slow / fast for fast, slow in zip(seconds[of], seconds[to], strict=True)]
    return {"ratio": statistics.median(ratios), "ratio_low": min(ratios), "ratio_high": max(ratios)}


def report(
    title: str, seconds: Mapping[str, list[float]], items: int, figures: Mapping[str, Any], as_json: bool
) -> None:
    """Print a table, or one JSON object.

    Args:
        title: What was measured.
        seconds: From `alternate`.
        items: Number of items in each run, for items per second.
        figures: The benchmark's results, ``ratio`` among them.
        as_json: Whether to print JSON.
    """
    ways = {
        name: {
            "seconds_median": statistics.median(runs),
            "seconds_low": min(runs),
            "seconds_high": max(runs),
            "items_per_second": items / statistics.median(runs),
            "runs": len(runs),
        }
        for name, runs in seconds.items()
    }
    if as_json:
        print(json.dumps({**figures, "title": title, "items": items, "ways": ways}, indent=2))
        return
    table = Table(
        "way", "items/s", "median s", "least s", "greatest s", "runs", title=f"{title} ({items} items)"
    )
    for name, way in ways.items():
        spans = [f"{way[key]:.3f}" for key in ("seconds_median", "seconds_low", "seconds_high")]
        table.add_row(name, f"{way['items_per_second']:.1f}", *spans, str(way["runs"]))
    console = Console()
    console.print(table)
    for name, value in figures.items():
        console.print(f"{name}: {value:.3f}" if isinstance(value, float) else f"{name}: {value}")
