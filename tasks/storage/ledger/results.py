"""Phases: what each step of a run found, so that a new start need not do it again."""

from typing import Any

import sqlalchemy as sa

from data_specs import ledger as tables
from tasks.storage.ledger.database import LedgerBase, insert_new, now


class PhaseLedger(LedgerBase):
    """The phases' part of the ledger."""

    def record_phase(self, run: str, name: str, payload: dict[str, Any]) -> None:
        """Adds a phase's result (anything JSON can hold); one already there stays as it was."""
        values = {"run": run, "name": name, "payload": payload, "recorded_at": now()}
        with self._writing() as connection:
            insert_new(connection, tables.phases, [values])

    def phase(self, run: str, name: str) -> dict[str, Any] | None:
        """What a phase of a run recorded; None where it has not ended."""
        table = tables.phases
        query = sa.select(table.c.payload).where(table.c.run == run, table.c.name == name)
        with self._reading() as connection:
            return connection.scalar(query)

    def phases_like(self, *patterns: str) -> list[dict[str, Any]]:
        """What the phases of all runs recorded whose names fit one of SQL's LIKE patterns, first to last."""
        table = tables.phases
        fits = sa.or_(*(table.c.name.like(pattern) for pattern in patterns))
        query = sa.select(table.c.payload).where(fits).order_by(table.c.sequence)
        with self._reading() as connection:
            return list(connection.scalars(query))

    def phases(self, run: str) -> list[dict[str, Any]]:
        """What a run's phases recorded, first to last."""
        table = tables.phases
        query = sa.select(table.c.payload).where(table.c.run == run).order_by(table.c.sequence)
        with self._reading() as connection:
            return list(connection.scalars(query))
