"""What every part of the ledger stands on: transactions, idempotent inserts, long lists in chunks."""

import re
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from data_specs.errors import DiskFullError, LedgerError, StoreLostError
from data_specs.migrations import HEAD
from tasks.storage.atomic_files import disk_full, is_full

# How the ledger's database is reached: durable, patient, and safe in many processes.

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


# What a database's refusal means: the store is lost for now, its disk is full, or a rule was broken.

RESTORE = (
    "restore it from a backup; without one, move it away and do the work again, "
    "which takes up the shards that lie there (docs/operations/runbook.md, section 4)"
)
"""What to do about a ledger that is lost."""
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_FULL = re.compile(r"disk is full|no space left|could not extend file", re.IGNORECASE)
_SQLITE_LOST = re.compile(r"database is locked|disk I/O error|unable to open database file")
_POSTGRESQL_LOST = re.compile(
    r"connection|server closed|terminating|shutting down|starting up|recovery mode|failed to resolve host",
    re.IGNORECASE,
)
# Said while connecting too, but the same login is refused tomorrow as well.
_LOGIN_REFUSED = re.compile(
    r"authentication failed|no password supplied|no pg_hba.conf entry|(role|database) \".*\" does not exist"
)


def refusal(error: SQLAlchemyError, where: str, what: str) -> LedgerError | DiskFullError:
    """The error that cleanplate raises in the place of the database's.

    Args:
        error: What SQLAlchemy raised.
        where: The ledger's address, without its password.
        what: ``refused`` or ``cannot be opened``.
    """
    cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    if _FULL.search(cause):
        return DiskFullError(f"the ledger at {where}", cause)
    if is_damaged(error):
        return LedgerError(f"the ledger at {where} is damaged ({cause}); {RESTORE}")
    if _LOGIN_REFUSED.search(cause):
        return LedgerError(
            f"the ledger at {where} refuses this login ({cause}); "
            "look at the name, the password and the database in CLEANPLATE_LEDGER"
        )
    if _is_lost(error, cause):
        file = sa.make_url(where).database or ""
        if where.startswith("sqlite") and is_full(Path(file)):
            return disk_full(Path(file))  # SQLite calls it an I/O error, or a file that it cannot open.
        return StoreLostError(
            f"the ledger at {where} cannot be reached ({cause}); what is done is kept, start again later"
        )
    return LedgerError(f"the ledger at {where} {what}: {cause}")


def is_damaged(error: SQLAlchemyError) -> bool:
    """Whether SQLite finds that the file is no database, or one whose pages contradict each other."""
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", 0)
    return code & 0xFF in _DAMAGED


def _is_lost(error: SQLAlchemyError, cause: str) -> bool:
    if not isinstance(error, DBAPIError):
        return False
    driver = type(error.orig).__module__
    pattern = _SQLITE_LOST if driver.startswith("sqlite3") else _POSTGRESQL_LOST
    operational = type(error).__name__ in ("OperationalError", "InterfaceError", "InternalError")
    return error.connection_invalidated or (operational and pattern.search(cause) is not None)


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


# Brings a ledger's database to the newest schema, once, however many processes ask.

_POSTGRES_LOCK = 0x636C65616E  # "clean": one number all cleanplate processes agree on


def migrate(engine: sa.Engine) -> None:
    """Upgrades to the newest revision; nothing happens where the ledger has it already.

    Raises:
        LedgerError: When the ledger was made by a newer cleanplate.
    """
    if revision(engine) == HEAD:
        return
    if engine.dialect.name == "sqlite":
        use_wal(engine)
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_POSTGRES_LOCK)))
        _upgrade(connection)


def revision(engine: sa.Engine) -> str | None:
    """The revision the database says it has; None for a new one, or one that cannot be asked.

    Raises:
        DatabaseError: When the database's file is damaged.
    """
    try:
        with engine.execution_options(reading=True).begin() as connection:
            return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    except DatabaseError as error:
        if is_damaged(error):
            raise
        return None


def _upgrade(connection: sa.Connection) -> None:
    # Imported here: an up-to-date ledger, opened by every worker process, need not wait for Alembic.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", "data_specs:migrations")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise LedgerError(f"the ledger cannot be brought to schema {HEAD}: {error}") from error
