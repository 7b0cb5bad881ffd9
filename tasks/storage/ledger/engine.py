"""How the ledger's database is reached: durable, patient, and safe in many processes."""

import sqlite3
import time
from contextlib import closing

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import NullPool

BUSY_TIMEOUT_S = 60
_USE_WAL = "PRAGMA journal_mode=WAL"
_KEPT, _BEYOND = 10, 40
"""Connections a server keeps, and opens beyond these: more than its 40 threads ever want."""


def create_engine(url: str, keep_connections: bool = False) -> sa.Engine:
    """An engine whose every transaction has a connection of its own, unless they are to be kept.

    No connection outlives its transaction, so a forked child cannot inherit one.

    Args:
        url: ``sqlite:///…`` or ``postgresql+psycopg://…``.
        keep_connections: For a server, which does not fork: connecting costs more than a small transaction.
    """
    if keep_connections:
        engine = sa.create_engine(url, pool_size=_KEPT, max_overflow=_BEYOND, pool_pre_ping=True)
    else:
        engine = sa.create_engine(url, poolclass=NullPool)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def use_wal(engine: sa.Engine) -> None:
    """Turns a SQLite file to write-ahead logging, for good.

    SQLite does not wait for its busy timeout here, so this waits itself.

    Raises:
        OperationalError: When another process held the file for the whole timeout.
        DatabaseError: When the file is damaged.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            with closing(engine.raw_connection()) as connection:
                connection.cursor().execute(_USE_WAL)
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise OperationalError(_USE_WAL, None, error) from error
        except sqlite3.DatabaseError as error:  # The file is damaged.
            raise DatabaseError(_USE_WAL, None, error) from error
        time.sleep(0.02)


def _prepare_sqlite(connection: DBAPIConnection, _record: object) -> None:
    """Leaves BEGIN to us, and sets what SQLite forgets between connections."""
    connection.isolation_level = None  # pyright: ignore[reportAttributeAccessIssue]
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_S * 1000}")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    """Takes the write lock at once: a lock taken half-way fails instead of waiting."""
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
