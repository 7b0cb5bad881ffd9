"""What a database's refusal means: the store is lost for now, its disk is full, or a rule was broken."""

import re
import sqlite3
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from data_specs.errors import DiskFullError, LedgerError, StoreLostError
from tasks.storage.disk import disk_full, is_full

RESTORE = (
    "restore it from a backup; without one, move it away and do the work again, "
    "which takes up the shards that lie there (docs/runbook.md, 4)"
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
