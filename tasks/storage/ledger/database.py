"""Open the ledger's database, and give its parts transactions, idempotent inserts and long lists."""

import json
import os
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import lru_cache
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

# The connection to the database: durable, patient, and safe in many processes.

BUSY_TIMEOUT_S = 60
_USE_WAL = "PRAGMA journal_mode=WAL"
_KEPT, _BEYOND = 10, 40
"""Connections that a server keeps, and opens in addition. Its 40 threads never need more."""


def create_engine(url: str, keep_connections: bool = False) -> sa.Engine:
    """An engine that opens a connection for each transaction, unless connections shall be kept.

    No connection outlives its transaction, so a forked child cannot inherit one.

    Args:
        url: ``sqlite:///…`` or ``postgresql+psycopg://…``.
        keep_connections: For a server, which does not fork. Connecting costs more than a small transaction.
    """
    if keep_connections:
        engine = sa.create_engine(url, pool_size=_KEPT, max_overflow=_BEYOND, pool_pre_ping=True)
    else:
        engine = sa.create_engine(url, poolclass=NullPool)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


@lru_cache(maxsize=8)
def _engine_of(url: str) -> sa.Engine:
    return create_engine(url)


# A thread of the parent may be inside an engine while another forks.
os.register_at_fork(after_in_child=_engine_of.cache_clear)


def use_wal(engine: sa.Engine) -> None:
    """Switch a SQLite file to write-ahead logging, permanently.

    SQLite ignores its busy timeout here, so this function waits itself.

    Raises:
        OperationalError: If another process held the file for the whole timeout.
        DatabaseError: If the file is damaged.
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
    """Leave BEGIN to this module, and set what SQLite forgets between connections."""
    connection.isolation_level = None  # pyright: ignore[reportAttributeAccessIssue]
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_S * 1000}")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    """Take the write lock at once. A lock taken later in the transaction fails instead of waiting."""
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


# The meaning of a database error: the store is lost for now, its disk is full, or a rule was broken.

RESTORE = (
    "restore it from a backup; without one, move it away and do the work again, "
    "which takes up the shards that lie there (docs/operations/runbook.md, section 4)"
)
"""What to do about a lost ledger."""
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_FULL = re.compile(r"disk is full|no space left|could not extend file", re.IGNORECASE)
_SQLITE_LOST = re.compile(r"database is locked|disk I/O error|unable to open database file")
_POSTGRESQL_LOST = re.compile(
    r"connection|server closed|terminating|shutting down|starting up|recovery mode|failed to resolve host",
    re.IGNORECASE,
)
# Also reported while connecting, but the same login is refused tomorrow too.
_LOGIN_REFUSED = re.compile(
    r"authentication failed|no password supplied|no pg_hba.conf entry|(role|database) \".*\" does not exist"
)


def refusal(error: SQLAlchemyError, where: str, what: str) -> LedgerError | DiskFullError:
    """The error that cleanplate raises instead of the database's.

    Args:
        error: The error of SQLAlchemy.
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
            f"the ledger at {where} refuses this login ({cause}); check the name, the password and the "
            "database in CLEANPLATE_LEDGER"
        )
    if _is_lost(error, cause):
        file = sa.make_url(where).database or ""
        if where.startswith("sqlite") and is_full(Path(file)):
            return disk_full(Path(file))  # SQLite calls it an I/O error, or a file that it cannot open.
        return StoreLostError(
            f"the ledger at {where} cannot be reached ({cause}); finished work is kept, so start again later"
        )
    return LedgerError(f"the ledger at {where} {what}: {cause}")


def is_damaged(error: SQLAlchemyError) -> bool:
    """Whether SQLite says that the file is no database, or that its pages contradict each other."""
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
"""Keys in one statement. SQLite takes 32,766 variables, PostgreSQL 65,535."""

Item = TypeVar("Item")


class Database:
    """The engine behind a ledger. It may be pickled, forked and shared between threads."""

    def __init__(self, url: str, keep_connections: bool = False) -> None:
        self.url = url
        # An engine without connections may be shared. A process then compiles each statement once.
        self.engine = create_engine(url, keep_connections=True) if keep_connections else _engine_of(url)
        self._reader = self.engine.execution_options(reading=True)

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return type(self), (self.url,)

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """One transaction that may write. Everything is kept, or nothing.

        Raises:
            LedgerError: If the database refuses or cannot be reached.
        """
        with self.refusals(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """One consistent view.

        Raises:
            LedgerError: If the database refuses or cannot be reached.
        """
        with self.refusals(), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def refusals(self, what: str = "refused") -> Iterator[None]:
        """Turns the database's errors into sentences."""
        try:
            yield
        except SQLAlchemyError as error:
            where = self.engine.url.render_as_string(hide_password=True)
            raise refusal(error, where, what) from error


class LedgerPart:
    """One subject of the ledger: its queries and its events. All parts share one database."""

    def __init__(self, database: Database) -> None:
        self._database = database


def insert_new(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert the rows whose unique columns are new. The others stay as they are."""
    if rows:
        connection.execute(_insert(connection, table), list(rows))


def insert_one(connection: sa.Connection, table: sa.Table, row: Mapping[str, Any]) -> bool:
    """Insert a row. False if one with its unique columns exists; that one stays as it is."""
    # Checked with RETURNING: the row counts of INSERT differ between the drivers.
    statement = _insert(connection, table).values(row).returning(sa.literal(1))
    return connection.scalar(statement) is not None


def _insert(connection: sa.Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table).on_conflict_do_nothing(index_elements=_identity(table))


def _identity(table: sa.Table) -> list[sa.Column[Any]] | None:
    """The columns that make a row of a table of events a repeated one. None for other tables: any unique one.

    A restore by COPY leaves PostgreSQL's next sequence number behind. A number that is taken must then be
    refused. Without a named target it would count as a repeated event, and the event would be lost.
    """
    if "sequence" not in table.primary_key.columns:
        return None
    (unique,) = (rule for rule in table.constraints if isinstance(rule, sa.UniqueConstraint))
    return list(unique.columns)


def between(column: sa.Column[Any], since: datetime | None, until: datetime | None) -> sa.ColumnElement[bool]:
    """From ``since`` to before ``until``. None = no limit."""
    limits = [column >= since] if since is not None else []
    limits += [column < until] if until is not None else []
    return sa.and_(sa.true(), *limits)


def chunked(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """The items in order, at most `CHUNK` at a time."""
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]


def among(connection: sa.Connection, column: sa.Column[Any], keys: Iterable[str]) -> sa.ColumnElement[bool]:
    """Whether a column's text is one of ``keys``, however many there are: they are one parameter."""
    if connection.dialect.name == "postgresql":
        return column == sa.any_(sa.literal(list(keys), postgresql.ARRAY(sa.String)))
    values = sa.func.json_each(json.dumps(list(keys))).table_valued("value")
    return column.in_(sa.select(values.c.value))


def now() -> datetime:
    """The current time in UTC."""
    return datetime.now(UTC)


# The upgrade of a database to the newest schema. It happens once, however many processes start it.

_POSTGRES_LOCK = 0x636C65616E  # "clean": one number that all cleanplate processes share


def migrate(engine: sa.Engine) -> None:
    """Upgrade to the newest revision. Nothing happens if the ledger has it already.

    Raises:
        LedgerError: If the ledger was made by a newer cleanplate.
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
    """The revision in the database. None for a new database, or one that cannot be read.

    Raises:
        DatabaseError: If the database's file is damaged.
    """
    try:
        with engine.execution_options(reading=True).begin() as connection:
            return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    except DatabaseError as error:
        if is_damaged(error):
            raise
        return None


def _upgrade(connection: sa.Connection) -> None:
    # Imported here: every worker process opens an up-to-date ledger and need not wait for Alembic.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", "data_specs:migrations")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise LedgerError(
            f"the ledger cannot be migrated to schema {HEAD} ({error}); restore it from a backup"
        ) from error
