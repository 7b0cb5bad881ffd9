"""Time the ledger's operations at several sizes. Goal: what an asked item costs does not grow, ratio <= 1.5.

``ratio`` is the worst, over all operations, of the cost per asked item at the largest size divided by that at
the smallest. An operation that must read all rows is measured per row. The cost is processor time on SQLite,
which works inside this process, and wall time on PostgreSQL.

Run: python -m benchmarks.ledger_scale [--sizes 10000,100000] [--full] [--postgresql] [--explain] [--json]

The default takes two minutes. ``--full`` is 10 thousand, 1 million and 10 million pool items. ``--folder``
keeps the filled ledgers, and takes up those that are there.
"""

import argparse
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table
from sqlalchemy import event

from benchmarks._ledger_operations import Operation, operations
from benchmarks._machine import machine
from benchmarks._postgresql import postgresql, postgresql_programs
from benchmarks._processes import ends_in_time
from benchmarks._synthetic_ledger import fill, size_bytes
from tasks.storage.workspace import LEDGER_VARIABLE, Workspace

GOAL = 1.5
_DEFAULT, _FULL = "10000,100000", "10000,1000000,10000000"
_SMALL_ROWS = ("shards", "models", "people", "review_batches", "versions", "results")
"""Tables with a row for each shard or less: reading all of one is no fault."""


@dataclass
class Measured:
    """One operation at one size."""

    asked: int
    unit: str
    cpu_ms: float
    wall_ms: float
    statements: int
    connections: int
    scans: list[str]
    """Steps of the database's plan that read a whole large table."""
    plans: list[str]

    def cost_us(self, by: str) -> float:
        """Microseconds for one asked item."""
        return 1_000 * (self.cpu_ms if by == "cpu" else self.wall_ms) / self.asked


class _Watch:
    """Counts the statements and connections of all engines, and keeps what can be explained."""

    def __init__(self) -> None:
        self.statements: list[tuple[str, Any]] = []
        self.connections = 0
        event.listen(sa.Engine, "before_cursor_execute", self._execute)
        event.listen(sa.pool.Pool, "connect", self._connect)

    def clear(self) -> None:
        self.statements, self.connections = [], 0

    def _execute(self, _c: object, _cursor: object, sql: str, parameters: Any, *_: object) -> None:
        if not sql.startswith(("BEGIN", "PRAGMA", "EXPLAIN")):
            self.statements.append((sql, parameters))

    def _connect(self, *_: object) -> None:
        self.connections += 1


@ends_in_time
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default=_DEFAULT, help="numbers of pool items, smallest first")
    parser.add_argument("--full", action="store_true", help=f"the same as --sizes {_FULL}")
    parser.add_argument("--postgresql", action="store_true", help="on a real PostgreSQL in place of SQLite")
    parser.add_argument("--explain", action="store_true", help="print the plan of every statement")
    parser.add_argument("--folder", type=Path, help="keep the filled ledgers here (SQLite)")
    parser.add_argument("--fill-only", action="store_true", help="fill the ledgers in --folder, and stop")
    parser.add_argument("--json", action="store_true", dest="as_json")
    arguments = parser.parse_args()
    sizes = [int(size) for size in (_FULL if arguments.full else arguments.sizes).split(",")]
    watch, measured, filled = _Watch(), dict[int, dict[str, Measured]](), dict[int, dict[str, float]]()
    with ExitStack() as stack:
        kept = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(_server()) if arguments.postgresql else None
        for size in sizes:
            workspace, filled[size] = _filled(kept, size, server)
            if not arguments.fill_only:
                measured[size] = {
                    operation.name: _measure(workspace, operation, watch)
                    for operation in operations(workspace, size)
                }
    if measured:
        _report(measured, filled, arguments)


@contextmanager
def _server() -> Iterator[str]:
    programs = postgresql_programs()
    if programs is None:
        sys.exit("PostgreSQL's initdb is not installed")
    with postgresql(programs) as address:
        yield address


def _filled(folder: Path, size: int, server: str | None) -> tuple[Workspace, dict[str, float]]:
    """A workspace with a filled ledger, and what filling took."""
    root = folder / str(size)
    if server is not None:
        admin = sa.create_engine(server.format(database="postgres"), isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE s{size}")
        admin.dispose()
        os.environ[LEDGER_VARIABLE] = server.format(database=f"s{size}")
    workspace, began = Workspace.open(root), time.monotonic()
    if not workspace.ledger().shards.all(stage="triplets"):
        fill(workspace.ledger_url, size)
    facts = {"fill_s": time.monotonic() - began}
    if server is None:
        facts["ledger_mb"] = size_bytes(workspace.ledger_url) / 1e6
    print(f"{size:,} items: filled in {facts['fill_s']:.0f} s", file=sys.stderr, flush=True)
    return workspace, facts


def _measure(workspace: Workspace, operation: Operation, watch: _Watch) -> Measured:
    cpu, wall = list[float](), list[float]()
    if operation.repeats > 1:
        operation.run()  # The first one compiles its statements.
    for _ in range(operation.repeats):
        gc.collect()
        watch.clear()
        began = time.process_time(), time.perf_counter()
        operation.run()
        cpu.append(time.process_time() - began[0])
        wall.append(time.perf_counter() - began[1])
    statements, connections = list(watch.statements), watch.connections
    plans = _plans(workspace, statements)
    print(f"  {operation.name}: {min(cpu):.3f} CPU s, {min(wall):.3f} s", file=sys.stderr, flush=True)
    return Measured(
        operation.asked,
        operation.unit,
        1_000 * statistics.median(cpu),
        1_000 * statistics.median(wall),
        len(statements),
        connections,
        sorted({step for plan in plans for step in plan.splitlines() if _is_scan(step)}),
        plans,
    )


def _plans(workspace: Workspace, statements: list[tuple[str, Any]]) -> list[str]:
    """The plan of each distinct statement."""
    engine = sa.create_engine(workspace.ledger_url)
    explain = "EXPLAIN QUERY PLAN " if engine.dialect.name == "sqlite" else "EXPLAIN "
    plans: list[str] = []
    with engine.connect() as connection:
        for sql, parameters in dict(statements_by_text(statements)).items():
            rows = connection.exec_driver_sql(explain + sql, parameters)
            plans.append("\n".join([sql[:200], *(f"  {row[-1]}" for row in rows)]))
    engine.dispose()
    return plans


def statements_by_text(statements: list[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Each text with the parameters of one row."""
    for sql, parameters in statements:
        yield sql, parameters[0] if isinstance(parameters, list) and parameters else parameters


def _is_scan(step: str) -> bool:
    """SQLite's SCAN, and PostgreSQL's Seq Scan, of a table that grows with the samples."""
    words = step.replace("Seq Scan on", "SCAN").replace("->", "").split()
    return words[:1] == ["SCAN"] and words[1].split("_1")[0] not in _SMALL_ROWS


def _report(
    measured: dict[int, dict[str, Measured]],
    filled: dict[int, dict[str, float]],
    arguments: argparse.Namespace,
) -> None:
    by, sizes = ("wall" if arguments.postgresql else "cpu"), sorted(measured)
    ratios = {
        name: measured[sizes[-1]][name].cost_us(by) / first.cost_us(by)
        for name, first in measured[sizes[0]].items()
    }
    worst = max(ratios, key=ratios.__getitem__)
    figures: dict[str, Any] = {
        "title": f"the ledger at {sizes}, {'PostgreSQL' if arguments.postgresql else 'SQLite'}",
        "ratio": ratios[worst],
        "worst": worst,
        "goal": GOAL,
        "machine": machine(),
        "filled": filled,
        "ratios": ratios,
    }
    if arguments.as_json:
        rows = {size: {name: asdict(one) for name, one in of.items()} for size, of in measured.items()}
        for one in (one for of in rows.values() for one in of.values()):
            if not arguments.explain:
                del one["plans"]
        print(json.dumps({**figures, "operations": rows}, indent=2))
        return
    _print(figures, measured, ratios, by)
    if arguments.explain:
        for name, one in measured[sizes[-1]].items():
            print(f"\n## {name}", *one.plans, sep="\n")


def _print(
    figures: dict[str, Any], measured: dict[int, dict[str, Measured]], ratios: dict[str, float], by: str
) -> None:
    sizes = sorted(measured)
    columns = [f"{size:,}: {by} ms (statements)" for size in sizes]
    table = Table("operation", "asked", *columns, "ratio", "scans", title=figures["title"])
    for name, last in measured[sizes[-1]].items():
        of = [measured[size][name] for size in sizes]
        cells = [f"{one.cpu_ms if by == 'cpu' else one.wall_ms:.1f} ({one.statements})" for one in of]
        table.add_row(
            name, f"{last.asked:,} × {last.unit}", *cells, f"{ratios[name]:.2f}", "; ".join(last.scans)
        )
    console = Console(width=200)
    console.print(table)
    for name in ("ratio", "worst", "goal", "machine", "filled"):
        console.print(f"{name}: {figures[name]}")


if __name__ == "__main__":
    main()
