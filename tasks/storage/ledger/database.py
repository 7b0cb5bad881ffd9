"""What every part of the ledger stands on: transactions, idempotent inserts, long lists in chunks."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from tasks.storage.ledger.engine import create_engine
from tasks.storage.ledger.refusals import refusal

CHUNK = 5_000
"""Keys a statement; SQLite takes 32,766 variables, PostgreSQL 65,535."""

Item = TypeVar("Item")


class LedgerBase:
    """Holds the engine; may be pickled, forked and shared between threads."""

    def __init__(self, url: str, keep_connections: bool = False) -> None:
        self.url = url
        self._engine = create_engine(url, keep_connections)
        self._reader = self._engine.execution_options(reading=True)

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return type(self), (self.url,)

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """One transaction that may write; all of it or nothing is kept."""
        with self._refusals(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        """One consistent view."""
        with self._refusals(), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def _refusals(self, what: str = "refused") -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            where = self._engine.url.render_as_string(hide_password=True)
            raise refusal(error, where, what) from error


def insert_new(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Inserts the rows whose unique columns are not there yet; the others are left as they are."""
    if rows:
        connection.execute(_insert(connection, table), list(rows))


def insert_one(connection: sa.Connection, table: sa.Table, row: Mapping[str, Any]) -> bool:
    """Inserts a row; False when one with its unique columns is there, which is left as it is."""
    # Asked by RETURNING: the row counts of INSERT differ between the drivers.
    statement = _insert(connection, table).values(row).returning(sa.literal(1))
    return connection.scalar(statement) is not None


def _insert(connection: sa.Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table).on_conflict_do_nothing()


def between(column: sa.Column[Any], since: datetime | None, until: datetime | None) -> sa.ColumnElement[bool]:
    """From ``since`` on and before ``until``; None = ever."""
    limits = [column >= since] if since is not None else []
    limits += [column < until] if until is not None else []
    return sa.and_(sa.true(), *limits)


def chunked(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """The items in order, at most `CHUNK` at a time."""
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]


def now() -> datetime:
    """This moment, in UTC."""
    return datetime.now(UTC)
