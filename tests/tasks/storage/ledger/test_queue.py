"""The queue on both databases: who gets what, once; expiry, answers, undo, exclusion, many writers."""

import multiprocessing
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from data_specs.errors import (
    LeaseExpiredError,
    LeaseFinishedError,
    LedgerError,
    NotYoursError,
    UnknownKeyError,
)
from data_specs.review import Review
from data_specs.review_batch import Answer, QueuePolicy, ReviewBatch, ReviewItem
from tasks.storage.ledger import Ledger, open_ledger

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
POLICY = QueuePolicy(lease_seconds=60)
YES, NO, SKIP = (Answer(decision=each, seconds=2.5, page_version="p1") for each in ("yes", "no", "skip"))


def batch(ledger: Ledger, *items: ReviewItem, name: str = "b1", people: int = 3) -> None:
    for number in range(people):
        ledger.people.add(f"p{number}", f"hash{number}", NOON)
    ledger.batches.open(ReviewBatch(name=name, round=1, policy=POLICY, opened_at=NOON), items)


def item(number: int, wanted: int = 1, gold=None) -> ReviewItem:
    return ReviewItem(candidate=f"c{number:04d}", answers_wanted=wanted, gold=gold)


def names(leases) -> list[str]:
    return [each.candidate for each in leases]


def answer_all(
    ledger: Ledger, person: str, answer: Answer, name: str = "b1", count: int = 20
) -> list[Review]:
    leases = ledger.leases.lease(name, person, count, NOON)
    return [ledger.leases.answer(each.lease, person, answer, NOON) for each in leases]


def test_a_batch_opened_twice_is_one_and_another_of_its_name_is_refused(ledger: Ledger) -> None:
    batch(ledger, item(1), item(0))
    again = ReviewBatch(name="b1", round=1, policy=POLICY, opened_at=NOON + timedelta(days=1))
    ledger.batches.open(again, [item(2)])
    assert [each.candidate for each in ledger.batches.items("b1")] == ["c0001", "c0000"]
    assert ledger.batches.all() == [ledger.batches.named("b1")]
    assert [each.kind for each in ledger.batches.events("b1")] == ["opened"]
    with pytest.raises(LedgerError, match="other settings"):
        ledger.batches.open(again.model_copy(update={"round": 2}), [])
    with pytest.raises(UnknownKeyError, match="no review batch b2"):
        ledger.batches.named("b2")


def test_an_item_is_given_to_as_many_as_it_wants_and_never_twice_to_one(ledger: Ledger) -> None:
    batch(ledger, item(0), item(1, wanted=2), item(2))
    assert names(ledger.leases.lease("b1", "p0", 2, NOON)) == ["c0000", "c0001"]
    # A reload gives what is held, and no more than was asked for.
    assert names(ledger.leases.lease("b1", "p0", 2, NOON)) == ["c0000", "c0001"]
    assert names(ledger.leases.lease("b1", "p1", 20, NOON)) == ["c0001", "c0002"]
    assert names(ledger.leases.lease("b1", "p2", 20, NOON)) == []
    ledger.leases.answer(ledger.leases.lease("b1", "p0", 1, NOON)[0].lease, "p0", YES, NOON)
    assert names(ledger.leases.lease("b1", "p0", 20, NOON)) == ["c0001"]


def test_a_lease_that_ran_out_gives_its_item_back(ledger: Ledger) -> None:
    batch(ledger, item(0))
    (late,) = ledger.leases.lease("b1", "p0", 1, NOON)
    assert late.expires_at == NOON + timedelta(seconds=60)
    assert ledger.leases.lease("b1", "p1", 1, NOON + timedelta(seconds=59.9)) == []
    with pytest.raises(LeaseExpiredError):
        ledger.leases.answer(late.lease, "p0", YES, NOON + timedelta(seconds=60))
    (given,) = ledger.leases.lease("b1", "p1", 1, NOON + timedelta(seconds=60))
    # An answer that was under way when the other person got the item comes too late as well.
    with pytest.raises(LeaseExpiredError):
        ledger.leases.answer(late.lease, "p0", YES, NOON + timedelta(seconds=59))
    ledger.leases.answer(given.lease, "p1", NO, NOON + timedelta(seconds=61))
    assert [each.reviewer for each in ledger.reviews.all()] == ["p1"]
    assert ledger.leases.lease("b1", "p0", 1, NOON + timedelta(seconds=61)) == []


def test_an_expired_lease_may_be_taken_again_by_the_same_person(ledger: Ledger) -> None:
    batch(ledger, item(0))
    (first,) = ledger.leases.lease("b1", "p0", 1, NOON)
    (second,) = ledger.leases.lease("b1", "p0", 1, NOON + timedelta(seconds=90))
    assert second.candidate == first.candidate
    assert second.lease != first.lease


def test_an_answer_told_again_is_one_and_another_is_refused(ledger: Ledger) -> None:
    batch(ledger, item(0))
    (held,) = ledger.leases.lease("b1", "p0", 1, NOON)
    first = ledger.leases.answer(held.lease, "p0", NO.model_copy(update={"reason": "seam"}), NOON)
    # Long after the lease has run out, the repeated answer still has its reply.
    assert ledger.leases.answer(held.lease, "p0", NO, NOON + timedelta(days=1)) == first
    assert ledger.reviews.all() == [first]
    assert (first.reason, first.seconds, first.page_version, first.batch) == ("seam", 2.5, "p1", "b1")
    with pytest.raises(LeaseFinishedError):
        ledger.leases.answer(held.lease, "p0", YES, NOON)
    with pytest.raises(NotYoursError):
        ledger.leases.answer(held.lease, "p1", NO, NOON)
    with pytest.raises(UnknownKeyError):
        ledger.leases.answer("f" * 20, "p0", NO, NOON)


def test_undo_gives_the_item_back_to_the_same_person_once(ledger: Ledger) -> None:
    batch(ledger, item(0))
    (held,) = ledger.leases.lease("b1", "p0", 1, NOON)
    review = ledger.leases.answer(held.lease, "p0", YES, NOON)
    with pytest.raises(NotYoursError):
        ledger.leases.undo(review.event, "p1", NOON)
    again = ledger.leases.undo(review.event, "p0", NOON)
    assert ledger.leases.undo(review.event, "p0", NOON) == again
    assert ledger.leases.lease("b1", "p1", 1, NOON) == []
    assert ledger.reviews.decisions(["c0000"]) == {}
    with pytest.raises(LeaseFinishedError):
        ledger.leases.answer(held.lease, "p0", YES, NOON)
    ledger.leases.answer(again.lease, "p0", NO, NOON)
    assert ledger.reviews.decisions(["c0000"]) == {"c0000": "no"}
    assert sorted(each.decision for each in ledger.reviews.all()) == ["no", "yes"]
    with pytest.raises(LeaseFinishedError):
        ledger.leases.undo(review.event, "p0", NOON)
    with pytest.raises(UnknownKeyError):
        ledger.leases.undo("nothing", "p0", NOON)


def test_consensus_is_the_majority_of_those_who_count(ledger: Ledger) -> None:
    batch(ledger, *(item(number, wanted=3) for number in range(4)), item(9, wanted=3, gold="yes"))
    said = {"p0": (YES, YES, SKIP, YES), "p1": (NO, YES, SKIP, SKIP), "p2": (SKIP, NO, SKIP, YES)}
    for person, answers in said.items():
        leases = ledger.leases.lease("b1", person, 20, NOON)
        for held, given in zip(leases, (*answers, YES), strict=True):
            ledger.leases.answer(held.lease, person, given, NOON)
    keys = [f"c{number:04d}" for number in (0, 1, 2, 3, 9, 5)]
    tie, most = {"c0000": "no"}, {"c0001": "yes", "c0002": "skip", "c0003": "yes"}
    assert ledger.reviews.decisions(keys) == {**tie, **most}
    counts = ledger.batches.counts("b1")
    assert (counts.items, counts.wanted, counts.answers, counts.complete, counts.left) == (5, 15, 15, 5, 0)
    assert (counts.yes, counts.no, counts.skipped) == (5, 2, 5)
    assert (counts.gold_answers, counts.gold_right) == (3, 3)
    ledger.people.disable("p1", "answers without looking", NOON)
    assert ledger.reviews.decisions(keys) == {"c0000": "yes", "c0001": "no", "c0002": "skip", "c0003": "yes"}
    assert (ledger.batches.counts("b1").answers, ledger.batches.counts("b1").left) == (10, 5)
    ledger.people.enable("p1", "", NOON)
    assert ledger.batches.counts("b1") == counts
    assert ledger.reviews.decisions(keys) == {**tie, **most}
    assert len(ledger.reviews.all()) == 15


def test_items_of_an_excluded_person_are_asked_again(ledger: Ledger) -> None:
    batch(ledger, item(0), item(1))
    answer_all(ledger, "p0", YES)
    assert ledger.leases.lease("b1", "p1", 20, NOON) == []
    ledger.people.disable("p0", "always YES", NOON)
    ledger.people.disable("p0", "always YES", NOON)
    assert names(ledger.leases.lease("b1", "p1", 20, NOON)) == ["c0000", "c0001"]
    assert [each.kind for each in ledger.people.events("p0")] == ["added", "excluded"]


def test_an_excluded_person_cannot_answer(ledger: Ledger) -> None:
    batch(ledger, item(0))
    (held,) = ledger.leases.lease("b1", "p0", 1, NOON)
    ledger.people.disable("p0", "", NOON)
    with pytest.raises(NotYoursError, match="not accepted"):
        ledger.leases.answer(held.lease, "p0", YES, NOON)


def test_extending_and_settling(ledger: Ledger) -> None:
    batch(ledger, item(0))
    ledger.batches.extend("b1", [item(0), item(1)], "too few YES")
    ledger.batches.extend("b1", [item(0), item(1)])
    assert [each.candidate for each in ledger.batches.items("b1")] == ["c0000", "c0001"]
    (held,) = ledger.leases.lease("b1", "p0", 1, NOON)
    ledger.batches.close("b1", "abandoned", "wrong remover")
    ledger.batches.close("b1", "abandoned")
    assert ledger.leases.lease("b1", "p1", 20, NOON) == []
    ledger.leases.answer(held.lease, "p0", YES, NOON)
    assert [(each.kind, each.reason) for each in ledger.batches.events("b1")] == [
        ("opened", ""),
        ("extended", "too few YES"),
        ("abandoned", "wrong remover"),
    ]


@pytest.mark.parametrize("table", ["person_events", "batch_events", "review_undos"])
@pytest.mark.parametrize("verb", ["UPDATE {} SET event = 'x'", "DELETE FROM {}"])
def test_events_cannot_be_changed(ledger: Ledger, table: str, verb: str) -> None:
    batch(ledger, item(0))
    (review,) = answer_all(ledger, "p0", YES)
    ledger.leases.undo(review.event, "p0", NOON)
    engine = sa.create_engine(ledger.url)
    with pytest.raises(SQLAlchemyError, match="append-only"), engine.begin() as connection:
        connection.exec_driver_sql(verb.format(table))
    engine.dispose()


def test_a_replaced_token_ends_its_sessions(ledger: Ledger) -> None:
    batch(ledger)
    later = NOON + timedelta(hours=1)
    ledger.people.open_session("s0", "hash0", NOON, later)
    ledger.people.open_session("s1", "hash1", NOON, later)
    who = ledger.people.of_session("s0", NOON)
    assert who is not None
    assert who.name == "p0"
    assert ledger.people.of_session("s0", later) is None
    ledger.people.replace_token("p0", "hash9", NOON)
    assert ledger.people.of_session("s0", NOON) is None
    assert ledger.people.of_token("hash0") is None
    ledger.people.close_session("s1")
    assert ledger.people.of_session("s1", NOON) is None
    with pytest.raises(LedgerError, match="person p0 exists already"):
        ledger.people.add("p0", "hash7", NOON)


def work(url: str, person: str) -> list[tuple[str, str]]:
    """Answers all there is, one undo in seven; returns what was acknowledged and stands."""
    ledger, standing = open_ledger(url), []
    while leases := ledger.leases.lease("b1", person, 5, NOON):
        for held in leases:
            review = ledger.leases.answer(held.lease, person, YES, NOON)
            if int(review.event[:4], 16) % 7 == 0:
                again = ledger.leases.undo(review.event, person, NOON)
                review = ledger.leases.answer(again.lease, person, NO, NOON)
            standing.append((review.candidate, person))
    return standing


def test_many_processes_answer_each_item_as_often_as_wanted(ledger: Ledger) -> None:
    items = [item(number, wanted=3 if number % 5 == 0 else 1) for number in range(60)]
    batch(ledger, *items, people=4)
    with multiprocessing.get_context("fork").Pool(4) as pool:
        told = pool.starmap(work, [(ledger.url, f"p{number}") for number in range(4)])
    standing = [each for part in told for each in part]
    assert len(set(standing)) == len(standing)
    by_item = Counter(candidate for candidate, _ in standing)
    assert by_item == {each.candidate: each.answers_wanted for each in items}
    assert {(r.candidate, r.reviewer) for r in ledger.reviews.valid("b1")} == set(standing)
    assert ledger.batches.counts("b1").left == ledger.batches.progress("b1", "p0", NOON).left == 0


def test_two_answers_to_a_shared_item_at_once_are_both_counted(ledger: Ledger) -> None:
    count = 12
    batch(ledger, *(item(number, wanted=4) for number in range(count)), people=4)
    held = {f"p{number}": ledger.leases.lease("b1", f"p{number}", 20, NOON) for number in range(4)}

    def tell(position: int, person: str) -> None:
        ledger.leases.answer(held[person][position].lease, person, YES, NOON)

    with ThreadPoolExecutor(4) as pool:
        for position in range(count):
            list(pool.map(lambda person, at=position: tell(at, person), held))
    assert (ledger.batches.progress("b1", "p0", NOON).left, len(ledger.reviews.all())) == (0, 4 * count)
