"""A database that is full, lost or right to refuse: real ones, and which error each becomes."""

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from data_specs.errors import DiskFullError, LedgerError, StoreLostError
from tasks.storage.ledger import open_ledger
from tests.facts import Facts


def test_a_full_disk_is_said_to_be_one_and_nothing_is_lost(tmp_path: Path) -> None:
    ledger = open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    ledger.results.record("shard", "kept", Facts({"n": 1}), run="run")

    @event.listens_for(ledger._database.engine, "connect")
    def no_more_pages(connection: sqlite3.Connection, _record: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages}")

    with pytest.raises(DiskFullError, match=r"ledger\.sqlite: .*is full; free some space and start again"):
        ledger.results.record("shard", "too much", Facts({"text": "x" * 100_000}), run="run")
    event.remove(ledger._database.engine, "connect", no_more_pages)
    assert ledger.results.all("shard", Facts) == [Facts({"n": 1})]
    ledger.results.record("shard", "after", Facts({"n": 2}), run="run")
    assert ledger.results.get("shard", "after", Facts, run="run") == Facts({"n": 2})


def test_a_folder_that_is_gone_is_a_lost_store(tmp_path: Path) -> None:
    (tmp_path / "mounted").mkdir()
    ledger = open_ledger(f"sqlite:///{tmp_path / 'mounted' / 'ledger.sqlite'}")
    (tmp_path / "mounted").rename(tmp_path / "unmounted")
    with pytest.raises(StoreLostError, match="unable to open database file"):
        ledger.results.all("shard", Facts)
    (tmp_path / "unmounted").rename(tmp_path / "mounted")
    assert ledger.results.all("shard", Facts) == []


def test_a_postgresql_that_cuts_the_line_or_is_not_there_is_a_lost_store(postgres_url: str) -> None:
    ledger = open_ledger(postgres_url)
    cut = "SELECT pg_terminate_backend(pg_backend_pid())"
    with pytest.raises(StoreLostError, match="cannot be reached"), ledger._database.writing() as connection:
        connection.exec_driver_sql(cut)
    assert ledger.results.all("shard", Facts) == []
    nowhere = sa.make_url(postgres_url).set(query={"host": "/nowhere"})
    with pytest.raises(StoreLostError, match="start again later"):
        open_ledger(nowhere.render_as_string(hide_password=False))


def test_a_refused_login_is_said_to_be_one_and_not_waited_for(postgres_url: str) -> None:
    url = sa.make_url(postgres_url)
    admin = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with admin.connect() as connection:
        hba = Path(connection.exec_driver_sql("SHOW hba_file").scalar_one())
        before = hba.read_text()
        connection.exec_driver_sql("CREATE ROLE ada LOGIN PASSWORD 'right'")
        hba.write_text(f"local all ada scram-sha-256\n{before}")
        connection.exec_driver_sql("SELECT pg_reload_conf()")
    ada = url.set(username="ada")
    try:
        for wrong in (ada.set(password="wrong"), ada, url.set(username="bob"), url.set(database="nope")):
            with pytest.raises(LedgerError, match="refuses this login .* in CLEANPLATE_LEDGER") as refused:
                open_ledger(wrong.render_as_string(hide_password=False))
            assert (type(refused.value), "wrong" in str(refused.value)) == (LedgerError, False)
    finally:
        hba.write_text(before)
        with admin.connect() as connection:
            connection.exec_driver_sql("SELECT pg_reload_conf()")
            connection.exec_driver_sql("DROP ROLE ada")


def test_a_name_that_no_longer_resolves_is_a_lost_store() -> None:
    with pytest.raises(StoreLostError, match="nowhere.invalid.*start again later"):
        open_ledger("postgresql+psycopg://ada@nowhere.invalid/plates")


def test_a_broken_rule_is_no_lost_store(ledger_url: str) -> None:
    ledger = open_ledger(ledger_url)
    with pytest.raises(LedgerError, match="refused") as refused, ledger._database.writing() as connection:
        connection.exec_driver_sql("INSERT INTO version_events (event, number) VALUES ('x', 1)")
    assert type(refused.value) is LedgerError
