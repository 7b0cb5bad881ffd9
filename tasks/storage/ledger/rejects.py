"""Record rejects: what was refused, and why."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from data_specs import ledger as tables
from data_specs.keys import derive_key
from data_specs.reject import Reject, RejectReason
from tasks.storage.ledger.database import LedgerPart, between, insert_new, now


class RejectLedger(LedgerPart):
    """The part of the ledger for rejects."""

    def record(self, rejects: Sequence[Reject]) -> None:
        """Add rejects. The same reject twice is one."""
        with self._database.writing() as connection:
            insert_rejects(connection, rejects)

    def all(self) -> list[Reject]:
        """All rejects, by source, name and reason."""
        table = tables.rejects
        order = (table.c.source, table.c.name, table.c.reason, table.c.id)
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(table).order_by(*order))
            return [
                Reject(source=row.source, name=row.name, reason=RejectReason(row.reason), detail=row.detail)
                for row in rows
            ]

    def counts(self, since: datetime | None = None, until: datetime | None = None) -> dict[str, int]:
        """The number for each reason, most first, of rejects recorded from ``since`` to before ``until``."""
        table = tables.rejects
        count = sa.func.count()
        query = (
            sa.select(table.c.reason, count)
            .where(between(table.c.recorded_at, since, until))
            .group_by(table.c.reason)
            .order_by(count.desc(), table.c.reason)
        )
        with self._database.reading() as connection:
            return {reason: number for reason, number in connection.execute(query)}


def insert_rejects(connection: sa.Connection, rejects: Sequence[Reject]) -> None:
    """Add rejects inside an open transaction."""
    moment = now()
    rows = [
        {
            "id": derive_key("reject", reject.source, reject.name, reject.reason.value, reject.detail),
            "source": reject.source,
            "name": reject.name,
            "reason": reject.reason.value,
            "detail": reject.detail,
            "recorded_at": moment,
        }
        for reject in rejects
    ]
    insert_new(connection, tables.rejects, rows)
