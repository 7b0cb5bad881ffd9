"""Reviews, promotions and named versions are added and never changed."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from data_specs.errors import LedgerError
from data_specs.model_record import ModelRecord
from data_specs.review import Review
from tasks.storage.ledger import Ledger

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def review(number: int) -> Review:
    return Review(
        event=f"event{number:06d}",
        candidate=f"candidate{number % 35_000}",
        decision="no" if number % 3 else "yes",
        reviewer="oracle",
        kind="oracle",
        answered_at=NOON + timedelta(seconds=number),
    )


def model(hash: str, kind: str = "remover") -> ModelRecord:
    return ModelRecord.model_validate(
        {
            "hash": hash,
            "kind": kind,
            "path": f"models/{hash}",
            "parent": None,
            "dataset_version": 1,
            "metrics": {"psnr": 28.5},
            "created_at": NOON,
        }
    )


def test_a_review_told_twice_is_one(ledger: Ledger) -> None:
    ledger.reviews.record([review(1), review(2)])
    ledger.reviews.record([review(2), review(3), review(3)])
    assert ledger.reviews.all() == [review(1), review(2), review(3)]
    assert ledger.reviews.all(["candidate3", "candidate1", "candidate1", "nobody"]) == [review(1), review(3)]


def test_more_candidates_than_a_statement_takes(ledger: Ledger) -> None:
    reviews = [review(number) for number in range(35_000)]
    ledger.reviews.record(reviews)
    assert ledger.reviews.all([each.candidate for each in reviews]) == reviews


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE reviews SET decision = 'yes'",
        "DELETE FROM reviews",
        "UPDATE promotions SET reason = 'better'",
        "DELETE FROM promotions",
    ],
)
def test_the_database_itself_refuses_changes(ledger: Ledger, statement: str) -> None:
    ledger.reviews.record([review(1)])
    ledger.models.record(model("m1"))
    ledger.models.promote("remover", "m1", "first")
    engine = sa.create_engine(ledger.url)
    with pytest.raises(SQLAlchemyError, match="append-only"), engine.begin() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()
    assert ledger.reviews.all() == [review(1)]
    assert [each.reason for each in ledger.models.promotions("remover")] == ["first"]


def test_replacing_and_truncating_change_nothing(ledger: Ledger) -> None:
    ledger.reviews.record([review(1)])
    engine = sa.create_engine(ledger.url)
    if ledger.url.startswith("sqlite"):
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "INSERT OR REPLACE INTO reviews (event, candidate, decision, reviewer, kind, reason, "
                "answered_at) VALUES ('event000001', 'c', 'no', 'x', 'person', '', '2026')"
            )
    else:
        with pytest.raises(SQLAlchemyError, match="append-only"), engine.begin() as connection:
            connection.exec_driver_sql("TRUNCATE reviews CASCADE")
    engine.dispose()
    assert ledger.reviews.all() == [review(1)]


def test_times_come_back_in_utc_and_naive_ones_are_refused(ledger: Ledger) -> None:
    tokyo = timezone(timedelta(hours=9))
    ledger.reviews.record([review(1).model_copy(update={"answered_at": NOON.astimezone(tokyo)})])
    answered = ledger.reviews.all()[0].answered_at
    assert (answered, answered.utcoffset()) == (NOON, timedelta(0))
    with pytest.raises(LedgerError, match="time zone"):
        ledger.reviews.record([review(2).model_copy(update={"answered_at": datetime(2026, 11, 23)})])


def test_the_champion_is_the_one_promoted_last(ledger: Ledger) -> None:
    assert ledger.models.champion("remover") is None
    for each in (model("m1"), model("m2"), model("m1"), model("judge", "discriminator")):
        ledger.models.record(each)
    ledger.models.promote("remover", "m1", "initialisation")
    ledger.models.promote("remover", "m2", "human 1: success 0.4 → 0.5")
    assert ledger.models.champion("remover") == model("m2")
    # A flow that runs again from its top must not move the champion back.
    ledger.models.promote("remover", "m1", "initialisation")
    assert ledger.models.champion("remover") == model("m2")
    ledger.models.promote("remover", "m1", "m2 paints objects back")
    assert ledger.models.champion("remover") == model("m1")
    assert [each.hash for each in ledger.models.promotions("remover")] == ["m1", "m2", "m1"]
    assert ledger.models.champion("discriminator") is None


def test_a_promotion_that_makes_no_sense_is_refused(ledger: Ledger) -> None:
    ledger.models.record(model("judge", "discriminator"))
    with pytest.raises(LedgerError, match="is not a remover"):
        ledger.models.promote("remover", "judge", "?")
    with pytest.raises(LedgerError, match="no model m9"):
        ledger.models.promote("remover", "m9", "?")
