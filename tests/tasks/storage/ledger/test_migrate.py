"""The migrations give exactly the schema of data_specs.ledger, once, however many ask."""

import multiprocessing

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from data_specs.errors import LedgerError
from data_specs.ledger import metadata
from data_specs.migrations import HEAD
from tasks.storage.ledger import Ledger, open_ledger


def test_migrations_give_exactly_the_metadata(ledger: Ledger) -> None:
    engine = sa.create_engine(ledger.url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_head_is_the_newest_revision() -> None:
    config = Config()
    config.set_main_option("script_location", "data_specs:migrations")
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_sqlite_is_durable(tmp_path) -> None:
    ledger = open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    with ledger._reading() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 60_000}


def test_many_processes_may_open_a_new_ledger_at_once(ledger_url: str) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        ledgers = pool.map(open_ledger, [ledger_url] * 8)
    assert [each.versions() for each in ledgers] == [[]] * 8


def test_a_newer_ledger_is_refused(ledger: Ledger) -> None:
    engine = sa.create_engine(ledger.url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    with pytest.raises(LedgerError, match="9999"):
        open_ledger(ledger.url)


def test_an_unreachable_ledger_is_one_sentence() -> None:
    with pytest.raises(LedgerError, match="cannot be reached .unable to open database file"):
        open_ledger("sqlite:////nowhere/at/all/ledger.sqlite")
