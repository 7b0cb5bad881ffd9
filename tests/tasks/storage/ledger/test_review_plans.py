"""SQLite answers each question about a review without a walk of a batch, also without statistics."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from data_specs.review_batch import Answer, QueuePolicy, ReviewBatch, ReviewItem
from tasks.storage.ledger import Ledger, open_ledger

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
GROWING = ("reviews", "review_items", "leases", "review_undos")
"""Tables with a row for each answer or item."""


@pytest.fixture
def answered(tmp_path: Path) -> Ledger:
    """A batch of 30 items that want two answers each; ana gave 20."""
    ledger = open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    for person in ("ana", "ben"):
        ledger.people.add(person, f"token of {person}", NOON)
    items = [ReviewItem(candidate=f"c{number:03d}", answers_wanted=2) for number in range(30)]
    ledger.batches.open(ReviewBatch(name="b", round=1, policy=QueuePolicy(), opened_at=NOON), items)
    for lease in ledger.leases.lease("b", "ana", 20, NOON):
        ledger.leases.answer(lease.lease, "ana", Answer(decision="yes", seconds=1.0), NOON)
    return ledger


def record_statements(ledger: Ledger) -> list[tuple[str, Any]]:
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        statements.append((statement, parameters[0] if rest[-1] else parameters))

    event.listen(ledger._database.engine, "before_cursor_execute", note)
    return statements


def work(ledger: Ledger) -> None:
    """Everything that a reviewer and an engineer do to a batch."""
    now = NOON + timedelta(hours=1)  # Leases have run out.
    lease, *_ = ledger.leases.lease("b", "ben", 3, now)
    review = ledger.leases.answer(lease.lease, "ben", Answer(decision="no", seconds=1.0), now)
    ledger.leases.undo(review.event, "ben", now)
    ledger.batches.progress("b", "ben", now)
    ledger.batches.counts("b")
    ledger.batches.wanting()
    ledger.people.disable("ana", "", now)
    ledger.people.enable("ana", "", now)
    ledger.batches.asking(["c001", "c002"])


def test_no_statement_walks_a_batch(answered: Ledger) -> None:
    statements = record_statements(answered)
    work(answered)
    noted = [entry for entry in statements if not entry[0].startswith(("BEGIN", "PRAGMA"))]
    assert len(noted) > 30
    for statement, parameters in noted:
        with answered._database.reading() as connection:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
        steps = [row[3] for row in plan]
        walks = [step for step in steps if any(step.startswith(f"SCAN {table}") for table in GROWING)]
        assert not walks, f"{statement}\n{steps}"
        for step in steps:
            if step.startswith("SEARCH reviews") and "ix_reviews_batch" in step:
                # All of a batch, but never all of it for each of its items.
                assert "reviewer=?" in step, f"{statement}\n{steps}"


def test_the_number_of_statements_does_not_grow_with_the_items_asked_for(answered: Ledger) -> None:
    statements = record_statements(answered)
    answered.leases.lease("b", "ben", 1, NOON)
    few = len(statements)
    statements.clear()
    answered.leases.lease("b", "ben", 20, NOON)
    assert len(statements) <= few
