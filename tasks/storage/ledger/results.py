"""Record the result of each step of a run and the time it took. A restart need not repeat the step."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from data_specs import ledger as tables
from data_specs.spending import Seconds, Spending
from tasks.storage.ledger.database import LedgerBase, between, chunked, insert_new, now


class PhaseLedger(LedgerBase):
    """The part of the ledger for phases."""

    def record_phase(self, run: str, name: str, payload: dict[str, Any]) -> None:
        """Add a phase's result (anything JSON can hold). An existing one stays as it was."""
        values = {"run": run, "name": name, "payload": payload, "recorded_at": now()}
        with self._writing() as connection:
            insert_new(connection, tables.phases, [values])

    def phase(self, run: str, name: str) -> dict[str, Any] | None:
        """The result of a phase. None if it has not ended."""
        table = tables.phases
        query = sa.select(table.c.payload).where(table.c.run == run, table.c.name == name)
        with self._reading() as connection:
            return connection.scalar(query)

    def phases_like(self, *patterns: str) -> list[dict[str, Any]]:
        """The results of phases in all runs whose names match one of SQL's LIKE patterns, first to last."""
        table = tables.phases
        fits = sa.or_(*(table.c.name.like(pattern) for pattern in patterns))
        query = sa.select(table.c.payload).where(fits).order_by(table.c.sequence)
        with self._reading() as connection:
            return list(connection.scalars(query))

    def phases(self, run: str) -> list[dict[str, Any]]:
        """The results of a run's phases, first to last."""
        table = tables.phases
        query = sa.select(table.c.payload).where(table.c.run == run).order_by(table.c.sequence)
        with self._reading() as connection:
            return list(connection.scalars(query))


# Spending: the seconds that each piece of work took, recorded once.

_NAME = "spending"
"""Stored beside the work's result, as another phase of it."""


class SpendingLedger(LedgerBase):
    """The part of the ledger for spending."""

    def record_spending(self, work: str, what: str, seconds: Seconds) -> None:
        """Record what a piece of work took. An existing record stays as it was."""
        payload = {"what": what, "seconds": seconds.model_dump()}
        values = {"run": work, "name": _NAME, "payload": payload, "recorded_at": now()}
        with self._writing() as connection:
            insert_new(connection, tables.phases, [values])

    def finished_works(self, works: Sequence[str]) -> set[str]:
        """The works whose seconds are recorded: that is the last thing a work does."""
        table = tables.phases
        query = sa.select(table.c.run).where(table.c.name == _NAME)
        with self._reading() as connection:
            chunks = [query.where(table.c.run.in_(chunk)) for chunk in chunked(works)]
            return {run for chunk in chunks for run in connection.scalars(chunk)}

    def spending(self, since: datetime | None = None, until: datetime | None = None) -> list[Spending]:
        """The records from ``since`` to before ``until`` (None = no limit), in order."""
        table = tables.phases
        query = sa.select(table.c.payload, table.c.recorded_at).where(
            table.c.name == _NAME, between(table.c.recorded_at, since, until)
        )
        with self._reading() as connection:
            rows = connection.execute(query.order_by(table.c.sequence))
            return [Spending(**row.payload, recorded_at=row.recorded_at) for row in rows]

    def spending_by_kind(
        self, since: datetime | None = None, until: datetime | None = None
    ) -> dict[str, tuple[int, Seconds]]:
        """The number of works and their total seconds, by kind, in the same period as ``spending``."""
        kinds: dict[str, list[Seconds]] = defaultdict(list)
        for each in self.spending(since, until):
            kinds[each.what].append(each.seconds)
        return {what: (len(all_of), _sum(all_of)) for what, all_of in sorted(kinds.items())}


def _sum(seconds: Sequence[Seconds]) -> Seconds:
    return Seconds(
        wall=sum(each.wall for each in seconds),
        cpu=sum(each.cpu for each in seconds),
        gpu=sum(each.gpu for each in seconds),
    )
