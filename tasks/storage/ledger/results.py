"""Record the result of each step and the time it took. A restart need not repeat the step."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TypeVar

import sqlalchemy as sa
from pydantic import BaseModel

from data_specs import ledger as tables
from data_specs.result import ResultKind
from data_specs.seconds import Seconds
from tasks.storage.ledger.database import LedgerPart, among, between, insert_new, now

Record = TypeVar("Record", bound=BaseModel)


class ResultLedger(LedgerPart):
    """The part of the ledger for results. Each kind has its own record."""

    def record(self, kind: ResultKind, name: str, record: BaseModel, run: str = "") -> None:
        """Add a result. An existing one stays as it was.

        Args:
            kind: The kind of the result.
            name: Its name within kind and run.
            record: The result, of the kind's record.
            run: What owns it. Empty if its name alone says what it is.
        """
        values = {
            "kind": kind,
            "run": run,
            "name": name,
            "payload": record.model_dump(mode="json"),
            "recorded_at": now(),
        }
        with self._database.writing() as connection:
            insert_new(connection, tables.results, [values])

    def get(self, kind: ResultKind, name: str, record: type[Record], run: str = "") -> Record | None:
        """The result of this kind, run and name, as ``record``. None if there is none."""
        table = tables.results
        query = sa.select(table.c.payload).where(
            table.c.kind == kind, table.c.run == run, table.c.name == name
        )
        with self._database.reading() as connection:
            payload = connection.scalar(query)
        return None if payload is None else record.model_validate(payload)

    def all(
        self,
        kind: ResultKind,
        record: type[Record],
        run: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[Record]:
        """The results of a kind in the order of recording.

        Args:
            kind: The kind.
            record: What each is read as.
            run: What owns them. None: any.
            since: Only results recorded from then on. None: no limit.
            until: Only results recorded before then. None: no limit.
        """
        table = tables.results
        query = (
            sa.select(table.c.payload)
            .where(table.c.kind == kind, between(table.c.recorded_at, since, until))
            .order_by(table.c.sequence)
        )
        if run is not None:
            query = query.where(table.c.run == run)
        with self._database.reading() as connection:
            return [record.model_validate(payload) for payload in connection.scalars(query)]

    def newest_first(self, kind: ResultKind, record: type[Record]) -> Iterator[Record]:
        """The results of a kind, the last recorded first. Each is read only when it is asked for."""
        table, last = tables.results, None
        query = sa.select(table.c.sequence, table.c.payload).where(table.c.kind == kind)
        query = query.order_by(table.c.sequence.desc()).limit(1)
        while True:
            with self._database.reading() as connection:
                older = query if last is None else query.where(table.c.sequence < last)
                row = connection.execute(older).first()
            if row is None:
                return
            last = row.sequence
            yield record.model_validate(row.payload)


class CostLedger(LedgerPart):
    """The part of the ledger for the seconds that each piece of work took."""

    def record(self, work: str, what: str, seconds: Seconds) -> None:
        """Record what a piece of work took. An existing record stays as it was."""
        values = {"work": work, "what": what, **seconds.model_dump(), "recorded_at": now()}
        with self._database.writing() as connection:
            insert_new(connection, tables.costs, [values])

    def finished_works(self, works: Sequence[str]) -> set[str]:
        """The works whose seconds are recorded: that is the last thing a work does."""
        column = tables.costs.c.work
        with self._database.reading() as connection:
            return set(connection.scalars(sa.select(column).where(among(connection, column, works))))

    def by_kind(
        self, since: datetime | None = None, until: datetime | None = None
    ) -> dict[str, tuple[int, Seconds]]:
        """By kind of work: the number of works recorded in a period, and their total seconds.

        Args:
            since: The start of the period. None: no limit.
            until: The first moment after it. None: no limit.
        """
        table = tables.costs
        sums = (sa.func.sum(table.c[clock]) for clock in Seconds.model_fields)
        query = (
            sa.select(table.c.what, sa.func.count(), *sums)
            .where(between(table.c.recorded_at, since, until))
            .group_by(table.c.what)
            .order_by(table.c.what)
        )
        with self._database.reading() as connection:
            return {
                what: (count, Seconds(**dict(zip(Seconds.model_fields, seconds, strict=True))))
                for what, count, *seconds in connection.execute(query)
            }
