"""Brings a ledger's database to the newest schema, once, however many processes ask."""

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from data_specs.errors import LedgerError
from data_specs.migrations import HEAD
from tasks.storage.ledger.engine import use_wal
from tasks.storage.ledger.refusals import is_damaged

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
