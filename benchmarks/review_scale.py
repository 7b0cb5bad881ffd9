"""What a lease, an answer and the progress cost in a small and in a large review batch, at the ledger.

``ratio`` is the worst cost in the large batch divided by that in the small one, of these three operations.
The goal is at most 1.5. The states are: no answer yet, half and 90 % of the items answered, and a batch whose
items all want two answers, with one person 90 % ahead. Costs are in processor time. PostgreSQL works in
processes of its own, so there they are in wall time.

Run: python -m benchmarks.review_scale [--small 1000] [--large 10000] [--database postgresql] [--json]

The table of `docs/experiments/review-scale.md` is of `--small 10000 --large 100000`.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import event

from benchmarks._answered_batch import BEGAN, answer_first
from benchmarks._machine import machine
from benchmarks._postgresql import postgresql, postgresql_programs
from benchmarks._processes import ends_in_time
from data_specs.review_batch import Answer, QueuePolicy, ReviewBatch, ReviewItem
from tasks.storage.ledger import Ledger, open_ledger

_BATCH, _AHEAD, _OTHER = "scale", "ana", "ben"
_LATER = BEGAN + timedelta(days=30)
_ANSWER = Answer(decision="yes", seconds=2.0)
_STATES = {
    "0 %": (0.0, 1, _OTHER),
    "50 %": (0.5, 1, _OTHER),
    "90 %": (0.9, 1, _OTHER),
    "90 %, two answers": (0.9, 2, _AHEAD),
}
"""Name → fraction answered, answers wanted of an item, and who goes on."""
_COMPARED = ("lease", "answer", "progress")
_CYCLES = 25

Figures = dict[str, dict[str, float]]
"""Operation → milliseconds and statements."""


@ends_in_time
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--small", type=int, default=1_000, help="items of the small batch")
    parser.add_argument("--large", type=int, default=10_000, help="items of the large batch")
    parser.add_argument("--json", action="store_true", dest="as_json")
    arguments = parser.parse_args()
    small, large = (
        {name: _measured(arguments.database, size, *state) for name, state in _STATES.items()}
        for size in (arguments.small, arguments.large)
    )
    ratios = [
        large[name][operation]["ms"] / small[name][operation]["ms"]
        for name in _STATES
        for operation in _COMPARED
    ]
    figures = {
        "title": "review at the ledger",
        "ratio": max(ratios),
        "database": arguments.database,
        "small": {"items": arguments.small, "states": small},
        "large": {"items": arguments.large, "states": large},
        "machine": machine(),
    }
    print(json.dumps(figures, indent=2)) if arguments.as_json else _print(figures)


def _measured(database: str, size: int, fraction: float, wanted: int, person: str) -> Figures:
    """The cost of each operation in a batch of this size, in the median."""
    with _ledger(database) as ledger:
        keys = _fill(ledger, size, fraction, wanted)
        statements = _count_statements(ledger)
        clock = time.process_time if database == "sqlite" else time.perf_counter
        costs: dict[str, list[tuple[float, int]]] = {}

        def timed(name: str, operation: Callable[[], Any]) -> Any:
            before, began = statements[0], clock()
            outcome = operation()
            costs.setdefault(name, []).append((1000 * (clock() - began), statements[0] - before))
            return outcome

        for cycle in range(_CYCLES):
            now = _LATER + timedelta(seconds=cycle)
            (lease,) = timed("lease", lambda at=now: ledger.leases.lease(_BATCH, person, 1, at))
            timed("answer", lambda at=now, of=lease: ledger.leases.answer(of.lease, person, _ANSWER, at))
            timed("progress", lambda at=now: ledger.batches.progress(_BATCH, person, at))
            timed("counts", lambda: ledger.batches.counts(_BATCH))
        timed("disable", lambda: ledger.people.disable(_AHEAD, "", _LATER))
        timed("enable", lambda: ledger.people.enable(_AHEAD, "", _LATER))
        assert ledger.batches.counts(_BATCH).answers == round(fraction * len(keys)) + _CYCLES
    return {name: _summary(name, values) for name, values in costs.items()}


def _summary(name: str, values: list[tuple[float, int]]) -> dict[str, float]:
    # The first cycles fill the caches.
    steady = values[3:] if name in (*_COMPARED, "counts") else values
    milliseconds, statements = zip(*steady, strict=True)
    return {"ms": statistics.median(milliseconds), "statements": statistics.median(statements)}


def _fill(ledger: Ledger, size: int, fraction: float, wanted: int) -> list[str]:
    """Open a batch and answer its first items as one person."""
    for person in (_AHEAD, _OTHER):
        ledger.people.add(person, f"token of {person}", BEGAN)
    keys = [f"c{number:07d}" for number in range(size)]
    batch = ReviewBatch(name=_BATCH, round=1, policy=QueuePolicy(), opened_at=BEGAN)
    ledger.batches.open(batch, [ReviewItem(candidate=key, answers_wanted=wanted) for key in keys])
    answer_first(ledger, _BATCH, keys[: round(fraction * size)], [_AHEAD])
    return keys


def _count_statements(ledger: Ledger) -> list[int]:
    """A list whose one number grows with each statement. BEGIN of SQLite counts as one."""
    statements = [0]

    def count(*_: object) -> None:
        statements[0] += 1

    event.listen(ledger._database.engine, "before_cursor_execute", count)
    return statements


@contextmanager
def _ledger(database: str) -> Iterator[Ledger]:
    if database == "sqlite":
        with tempfile.TemporaryDirectory(prefix="cleanplate-scale-") as folder:
            yield open_ledger(f"sqlite:///{folder}/ledger.sqlite", keep_connections=True)
        return
    programs = postgresql_programs()
    if programs is None:
        raise SystemExit("PostgreSQL's initdb is not found; apt-get install postgresql")
    with postgresql(programs) as address:
        yield open_ledger(address.format(database="postgres"), keep_connections=True)


def _print(figures: dict[str, Any]) -> None:
    table = Table(
        "state", "operation", "small ms", "large ms", "statements", title=figures["title"], box=None
    )
    for state, small in figures["small"]["states"].items():
        for operation, cost in small.items():
            large = figures["large"]["states"][state][operation]
            row = (state, operation, f"{cost['ms']:.1f}", f"{large['ms']:.1f}", f"{large['statements']:.0f}")
            table.add_row(*row)
    console = Console()
    console.print(table)
    console.print(f"ratio {figures['ratio']:.2f}")
    console.print(str(figures["machine"]), soft_wrap=True)


if __name__ == "__main__":
    main()
