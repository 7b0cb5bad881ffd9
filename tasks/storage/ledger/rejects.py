"""Rejects: what was refused, and why."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from data_specs import ledger as tables
from data_specs.keys import derive_key
from data_specs.reject import Reject, RejectReason
from tasks.storage.ledger.database import LedgerBase, between, insert_new, now


class RejectLedger(LedgerBase):
    """The rejects' part of the ledger."""

    def record_rejects(self, rejects: Sequence[Reject]) -> None:
        """Adds rejects; one told twice is one."""
        with self._writing() as connection:
            insert_rejects(connection, rejects)

    def rejects(self) -> list[Reject]:
        """All of them, by source, name and reason."""
        table = tables.rejects
        order = (table.c.source, table.c.name, table.c.reason, table.c.id)
        with self._reading() as connection:
            rows = connection.execute(sa.select(table).order_by(*order))
            return [
                Reject(source=row.source, name=row.name, reason=RejectReason(row.reason), detail=row.detail)
                for row in rows
            ]

    def reject_counts(self, since: datetime | None = None, until: datetime | None = None) -> dict[str, int]:
        """How many for each reason, most first; those recorded from ``since`` on and before ``until``."""
        table = tables.rejects
        count = sa.func.count()
        query = (
            sa.select(table.c.reason, count)
            .where(between(table.c.recorded_at, since, until))
            .group_by(table.c.reason)
            .order_by(count.desc(), table.c.reason)
        )
        with self._reading() as connection:
            return {reason: number for reason, number in connection.execute(query)}


def insert_rejects(connection: sa.Connection, rejects: Sequence[Reject]) -> None:
    """Adds rejects inside a transaction already begun."""
    moment = now()
    rows = [
        {
            "id": derive_key("reject", each.source, each.name, each.reason.value, each.detail),
            "source": each.source,
            "name": each.name,
            "reason": each.reason.value,
            "detail": each.detail,
            "recorded_at": moment,
        }
        for each in rejects
    ]
    insert_new(connection, tables.rejects, rows)
