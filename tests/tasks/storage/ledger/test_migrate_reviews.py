"""A ledger of revision 0007 that holds answers: its counts are made once, and people go on."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from data_specs.review_batch import Answer, BatchCounts
from tasks.storage.ledger import open_ledger

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
STORED = "2026-11-25 12:00:00.000000"
ANSWERS = (
    # event, candidate, decision, reviewer, kind, batch
    ("e0", "c0", "yes", "ana", "person", "b"),
    ("e1", "c1", "no", "ana", "person", "b"),
    ("e2", "c1", "yes", "ben", "person", "b"),
    ("e3", "c2", "skip", "ana", "person", "b"),
    ("e4", "c3", "yes", "ana", "person", "b"),
    ("e5", "c4", "no", "cleo", "person", "b"),
    ("e6", "c0", "yes", "oracle", "oracle", None),
    ("e7", "c5", "no", "ana", "person", "b"),
)
ITEMS = (
    # candidate, answers wanted, gold, answers left
    ("c0", 1, None, 0),
    ("c1", 2, None, 0),
    ("c2", 2, None, 1),
    ("c3", 2, "yes", 1),
    ("c4", 1, None, 1),  # cleo is disabled
    ("c5", 1, None, 1),  # undone
)


def fill(connection: sa.Connection) -> None:
    for person, disabled in (("ana", False), ("ben", False), ("cleo", True)):
        connection.execute(
            sa.text("INSERT INTO people (name, token_hash, excluded) VALUES (:name, :name, :disabled)"),
            {"name": person, "disabled": disabled},
        )
    for batch in ("b", "empty"):
        connection.execute(
            sa.text(
                "INSERT INTO review_batches (name, round, policy, opened_at) VALUES (:name, 1, '{}', :at)"
            ),
            {"name": batch, "at": STORED},
        )
        connection.execute(
            sa.text(
                "INSERT INTO batch_events (event, batch, kind, reason, recorded_at) "
                "VALUES (:name, :name, 'opened', '', :at)"
            ),
            {"name": batch, "at": STORED},
        )
    for position, (candidate, wanted, gold, left) in enumerate(ITEMS):
        connection.execute(
            sa.text(
                "INSERT INTO review_items (batch, candidate, position, answers_wanted, gold, answers_left) "
                "VALUES ('b', :candidate, :position, :wanted, :gold, :left)"
            ),
            {"candidate": candidate, "position": position, "wanted": wanted, "gold": gold, "left": left},
        )
    for event, candidate, decision, reviewer, kind, batch in ANSWERS:
        connection.execute(
            sa.text(
                "INSERT INTO reviews "
                "(event, candidate, decision, reviewer, kind, reason, answered_at, batch) "
                "VALUES (:event, :candidate, :decision, :reviewer, :kind, '', :at, :batch)"
            ),
            {
                "event": event,
                "candidate": candidate,
                "decision": decision,
                "reviewer": reviewer,
                "kind": kind,
                "at": STORED,
                "batch": batch,
            },
        )
    connection.execute(
        sa.text("INSERT INTO review_undos (event, review, person, undone_at) VALUES ('u', 'e7', 'ana', :at)"),
        {"at": STORED},
    )


def test_an_older_ledger_with_answers_goes_on(ledger_url: str) -> None:
    engine = sa.create_engine(ledger_url)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", "data_specs:migrations")
        config.attributes["connection"] = connection
        command.upgrade(config, "0007")
        fill(connection)
    engine.dispose()

    ledger = open_ledger(ledger_url)
    # Counted by hand from the rows above.
    expected = BatchCounts(
        items=6, wanted=9, answers=5, complete=2, left=4, yes=2, no=1, skipped=1, gold_answers=1, gold_right=1
    )
    assert ledger.batches.counts("b") == expected
    assert ledger.batches.counts("empty").items == 0
    assert ledger.batches.wanting() == ["b"]
    assert ledger.batches.progress("b", "ana", NOON).answers == 4
    ledger.people.enable("cleo", "", NOON)
    with_cleo = expected.model_copy(update={"answers": 6, "no": 2, "left": 3, "complete": 3})
    assert ledger.batches.counts("b") == with_cleo
    leases = ledger.leases.lease("b", "ben", 5, NOON)
    assert [lease.candidate for lease in leases] == ["c2", "c3", "c5"]
    ledger.leases.answer(leases[0].lease, "ben", Answer(decision="no", seconds=1.0), NOON)
    after = with_cleo.model_copy(update={"answers": 7, "no": 3, "left": 2, "complete": 4})
    assert ledger.batches.counts("b") == after
