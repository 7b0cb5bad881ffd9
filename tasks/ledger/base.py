"""What every part of the ledger stands on: transactions, idempotent inserts, long lists in chunks."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from data_specs.errors import LedgerError
from tasks.ledger.engine import create_engine

CHUNK = 5_000
"""Keys a statement; SQLite takes 32,766 variables, PostgreSQL 65,535."""

Item = TypeVar("Item")


class LedgerBase:
    """Holds the engine; may be pickled, forked and shared between threads."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._engine = create_engine(url)
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
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            where = self._engine.url.render_as_string(hide_password=True)
            raise LedgerError(f"the ledger at {where} refused: {cause}") from error


def insert_new(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Inserts the rows whose unique columns are not there yet; the others are left as they are.

    Returns:
        How many were new, where one row was given; the databases do not count batches alike.
    """
    if not rows:
        return 0
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).on_conflict_do_nothing()
    return connection.execute(statement, list(rows)).rowcount


def chunked(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """The items in order, at most `CHUNK` at a time."""
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]


def now() -> datetime:
    """This moment, in UTC."""
    return datetime.now(UTC)
