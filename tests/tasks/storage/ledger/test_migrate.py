"""The migrations give exactly the schema of data_specs.ledger, once, however many ask."""

import multiprocessing

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from data_specs.errors import LedgerError
from data_specs.ledger import metadata
from data_specs.migrations import HEAD
from data_specs.reject import RejectReason
from tasks.storage.ledger import Ledger, open_ledger
from tests.facts import Facts


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


OLD_ROWS = (
    "INSERT INTO scene_pictures (picture, scene, split, hash, thumbnail) VALUES ('p', 's', 'train', 1, 'x')",
    "INSERT INTO models (hash, kind, path, metrics, created_at) "
    "VALUES ('h', 'judge', 'f', '{}', '2026-11-01')",
    "INSERT INTO promotions (event, kind, hash, reason, promoted_at) "
    "VALUES ('e', 'judge', 'h', 'better', '2026-11-01')",
    "INSERT INTO rejects (id, source, name, reason, detail, recorded_at) "
    "VALUES ('r', 'folder', 'a.png', 'damaged picture', '', '2026-11-01')",
    """INSERT INTO phases (run, name, payload, recorded_at)
    VALUES ('trainings', 'judge 1', '{"judge": {"hash": "h"}, "losses": []}', '2026-11-01')""",
    """INSERT INTO review_batches (name, round, policy, opened_at)
    VALUES ('b', 1, '{"overlap_share": 0.25, "gold_share": 0.125, "mixed_share": 0.75}', '2026-11-01')""",
)


def test_what_an_older_ledger_holds_is_read_in_the_words_of_today(ledger_url: str) -> None:
    engine = sa.create_engine(ledger_url)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", "data_specs:migrations")
        config.attributes["connection"] = connection
        command.upgrade(config, "0004")
        for statement in OLD_ROWS:
            connection.execute(sa.text(statement.replace(":", r"\:")))
    engine.dispose()

    ledger = open_ledger(ledger_url)
    assert [(model.hash, model.kind) for model in ledger.models.all("discriminator")] == [
        ("h", "discriminator")
    ]
    assert [each.hash for each in ledger.models.promotions("discriminator")] == ["h"]
    training = ledger.results.get("discriminator_training", "judge 1", Facts)
    assert training is not None
    assert training.root == {"discriminator": {"hash": "h"}, "losses": {"stretch": 1, "means": []}}
    policy = ledger.batches.named("b").policy
    assert (policy.overlap_fraction, policy.gold_fraction, policy.mixed_fraction) == (0.25, 0.125, 0.75)
    with ledger._database.reading() as connection:
        assert connection.exec_driver_sql("SELECT image, scene FROM scene_images").all() == [("p", "s")]
        assert connection.exec_driver_sql("SELECT reason FROM rejects").scalar() == RejectReason.DAMAGED
    assert RejectReason("damaged picture") is RejectReason.DAMAGED, "so older shards name it"


def test_sqlite_is_durable(tmp_path) -> None:
    ledger = open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    with ledger._database.reading() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 60_000}


def test_many_processes_may_open_a_new_ledger_at_once(ledger_url: str) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        ledgers = pool.map(open_ledger, [ledger_url] * 8)
    assert [each.versions.all() for each in ledgers] == [[]] * 8


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
