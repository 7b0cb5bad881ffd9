"""The kept counts equal a recount of all answers in plain Python, whatever happens, on both databases."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from data_specs import ledger as tables
from data_specs.errors import LeaseExpiredError, LedgerError
from data_specs.review import Review
from data_specs.review_batch import Answer, BatchCounts, Lease, QueuePolicy, ReviewBatch, ReviewItem
from tasks.storage.ledger import Ledger, kept_counts, open_ledger
from tasks.storage.ledger.people import PeopleLedger

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
PEOPLE = ("ana", "ben", "cleo", "dora")
BATCHES = ("b1", "b2")


def naive_counts(ledger: Ledger, batch: str) -> BatchCounts:
    """Counted from all events, one by one."""
    with ledger._database.reading() as connection:
        undone = set(connection.scalars(sa.select(tables.review_undos.c.review)))
    disabled = {person.name for person in ledger.people.all() if person.excluded}
    wanted = {item.candidate: item for item in ledger.batches.items(batch)}
    said: dict[str, set[str]] = {candidate: set() for candidate in wanted}
    numbers: Counter[str] = Counter()
    for review in ledger.reviews.all():
        by_disabled = review.kind == "person" and review.reviewer in disabled
        if review.batch != batch or review.event in undone or by_disabled:
            continue
        if review.candidate not in wanted:
            continue
        said[review.candidate].add(review.reviewer)
        numbers["answers"] += 1
        gold = wanted[review.candidate].gold
        if gold is None:
            numbers["skipped" if review.decision == "skip" else review.decision] += 1
        else:
            numbers["gold_answers"] += review.decision != "skip"
            numbers["gold_right"] += review.decision == gold
    missing = {key: max(0, item.answers_wanted - len(said[key])) for key, item in wanted.items()}
    return BatchCounts(
        items=len(wanted),
        wanted=sum(item.answers_wanted for item in wanted.values()),
        left=sum(missing.values()),
        complete=sum(left == 0 for left in missing.values()),
        **{name: numbers[name] for name in ("answers", "yes", "no", "skipped", "gold_answers", "gold_right")},
    )


def naive_queue(ledger: Ledger, batch: str, person: str) -> tuple[list[str], list[str]]:
    """What the person holds, and what they may get in the order of the queue, from all leases and items."""
    items = tables.review_items
    with ledger._database.reading() as connection:
        leases = connection.execute(sa.select(tables.leases).where(tables.leases.c.batch == batch)).all()
        query = sa.select(items.c.candidate, items.c.answers_left).where(items.c.batch == batch)
        left = connection.execute(query.order_by(items.c.position)).all()
    live = Counter(lease.candidate for lease in leases if lease.state == "live")
    mine = [lease for lease in leases if lease.person == person and lease.state in ("live", "answered")]
    seen = {lease.candidate for lease in mine}
    available = [item for item in left if item.answers_left > live[item.candidate]]
    return (
        [lease.candidate for lease in mine if lease.state == "live"],
        [item.candidate for item in available if item.candidate not in seen],
    )


class Studio:
    """People at work on two batches, at random."""

    def __init__(self, ledger: Ledger, seed: int) -> None:
        self.ledger = ledger
        self.random = random.Random(seed)
        self.now = NOON
        self.leases: list[Lease] = []
        self.answers: list[Review] = []
        self.imported = 0
        policy = QueuePolicy(lease_seconds=60)
        for person in PEOPLE:
            ledger.people.add(person, f"token of {person}", NOON)
        for batch in BATCHES:
            ledger.batches.open(
                ReviewBatch(name=batch, round=1, policy=policy, opened_at=NOON), self.items(batch, 0, 12)
            )

    def items(self, batch: str, first: int, count: int) -> list[ReviewItem]:
        return [
            ReviewItem(
                candidate=f"{batch} {number:03d}",
                answers_wanted=self.random.choice((1, 1, 2, 3)),
                gold=self.random.choice((None, None, None, "yes", "no")),
            )
            for number in range(first, first + count)
        ]

    def lease(self) -> None:
        batch, person = self.random.choice(BATCHES), self.random.choice(PEOPLE)
        leases = self.ledger.leases.lease(batch, person, self.random.randint(1, 6), self.now)
        self.leases += [lease for lease in leases if lease not in self.leases]

    def answer(self) -> None:
        if not self.leases:
            return
        lease = self.leases.pop(self.random.randrange(len(self.leases)))
        excluded = {person.name for person in self.ledger.people.all() if person.excluded}
        if lease.person in excluded:
            return
        decision = self.random.choice(("yes", "yes", "no", "skip"))
        answer = Answer(decision=decision, seconds=1.0)
        try:
            self.answers.append(self.ledger.leases.answer(lease.lease, lease.person, answer, self.now))
        except LeaseExpiredError:
            return

    def undo(self) -> None:
        if self.answers:
            answer = self.answers.pop(self.random.randrange(len(self.answers)))
            self.leases.append(self.ledger.leases.undo(answer.event, answer.reviewer, self.now))

    def exclude(self) -> None:
        person = self.random.choice(PEOPLE)
        self.random.choice((self.ledger.people.disable, self.ledger.people.enable))(person, "", self.now)

    def bring_in(self) -> None:
        """Answers of another tool: some are there already, some people answer an item twice."""
        rows = []
        for _ in range(self.random.randint(1, 8)):
            self.imported += self.random.choice((0, 1, 1))
            choose = random.Random(self.imported)
            batch = choose.choice(BATCHES)
            rows.append(
                Review(
                    event=f"imported {self.imported}",
                    candidate=f"{batch} {choose.randrange(12):03d}",
                    decision=choose.choice(("yes", "no", "skip")),
                    reviewer=choose.choice((*PEOPLE, "label-studio:ana")),
                    kind=choose.choice(("person", "person", "person", "oracle")),
                    answered_at=NOON + timedelta(seconds=choose.randrange(100)),
                    batch=choose.choice((batch, batch, None)),
                )
            )
        self.ledger.reviews.record(rows)

    def extend(self) -> None:
        batch = self.random.choice(BATCHES)
        self.ledger.batches.extend(batch, self.items(batch, len(self.ledger.batches.items(batch)), 2))

    def wait(self) -> None:
        self.now += timedelta(seconds=self.random.choice((1, 20, 61)))

    def step(self) -> None:
        actions = (self.lease, self.answer, self.undo, self.exclude, self.bring_in, self.extend, self.wait)
        self.random.choices(actions, (6, 16, 3, 2, 2, 0.3, 2))[0]()

    def check(self) -> None:
        for batch in BATCHES:
            assert self.ledger.batches.counts(batch) == naive_counts(self.ledger, batch)
            left = self.ledger.batches.counts(batch).left
            assert self.ledger.batches.progress(batch, "ana", self.now).left == left
            assert (batch in self.ledger.batches.wanting()) == (left > 0)

    def check_place(self) -> None:
        """A lease gives what is available to the person, and what they hold."""
        batch, person = self.random.choice(BATCHES), self.random.choice(PEOPLE)
        self.ledger.leases.lease(batch, person, 1, self.now)  # Ends the leases that ran out.
        held, available = naive_queue(self.ledger, batch, person)
        given = self.ledger.leases.lease(batch, person, len(held) + 3, self.now)
        assert {lease.candidate for lease in given} == {*held, *available[:3]}
        self.leases += [lease for lease in given if lease not in self.leases]


@pytest.mark.parametrize("seed", range(2))
def test_kept_counts_and_places_equal_a_recount_of_everything(
    ledger: Ledger, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_counts, "_STEP", 3)  # So that a recount takes several steps.
    studio = Studio(ledger, seed)
    for _ in range(12):
        for _ in range(8):
            studio.step()
        studio.check()
        studio.check_place()
    assert len(ledger.reviews.all()) > 15, "something happened"


class Killed(Exception):
    """In place of SIGKILL: nothing after it runs."""


def killed_after(steps: int):
    """`PeopleLedger._recount` that ends after some steps, as a killed process does."""

    def recount(self: PeopleLedger, name: str) -> None:
        for _ in range(steps):
            with self._database.writing() as connection:
                kept_counts.recount_step(connection, name)
        raise Killed

    return recount


def answered_by_ana(ledger: Ledger, count: int = 20) -> None:
    for person in ("ana", "ben"):
        ledger.people.add(person, f"token of {person}", NOON)
    items = [ReviewItem(candidate=f"c{number:03d}", answers_wanted=1) for number in range(count)]
    batch = ReviewBatch(name="b1", round=1, policy=QueuePolicy(), opened_at=NOON)
    ledger.batches.open(batch, items)
    for lease in ledger.leases.lease("b1", "ana", count, NOON):
        ledger.leases.answer(lease.lease, "ana", Answer(decision="yes", seconds=1.0), NOON)


@pytest.mark.parametrize("steps", [0, 2])
def test_a_recount_that_was_killed_is_right_at_once_and_finished_by_whoever_asks(
    ledger: Ledger, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_counts, "_STEP", 4)
    answered_by_ana(ledger)
    assert (ledger.batches.counts("b1").left, ledger.batches.wanting()) == (0, [])
    with monkeypatch.context() as patch:
        patch.setattr(PeopleLedger, "_recount", killed_after(steps))
        with pytest.raises(Killed):
            ledger.people.disable("ana", "answers without looking", NOON)
    assert ledger.batches.counts("b1") == naive_counts(ledger, "b1")
    assert ledger.batches.counts("b1").left == 20
    assert ledger.batches.wanting() == ["b1"], "or nobody would ask for its items"
    given: list[str] = []
    for _ in range(6):
        given = [lease.candidate for lease in ledger.leases.lease("b1", "ben", 20, NOON)]
    assert sorted(given) == [f"c{number:03d}" for number in range(20)]
    with ledger._database.reading() as connection:
        assert kept_counts.unfinished(connection, "b1") == []
    assert ledger.batches.progress("b1", "ben", NOON).left == 20


def test_disabling_again_finishes_a_recount_that_was_killed(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_counts, "_STEP", 4)
    answered_by_ana(ledger)
    with monkeypatch.context() as patch:
        patch.setattr(PeopleLedger, "_recount", killed_after(2))
        with pytest.raises(Killed):
            ledger.people.disable("ana", "", NOON)
        with pytest.raises(Killed):
            ledger.people.enable("ana", "", NOON)
    ledger.people.enable("ana", "", NOON)
    with ledger._database.reading() as connection:
        assert kept_counts.unfinished(connection, "b1") == []
    assert ledger.batches.progress("b1", "ana", NOON).left == 0
    assert ledger.batches.counts("b1") == naive_counts(ledger, "b1")
    assert [event.kind for event in ledger.people.events("ana")] == ["added", "excluded", "readmitted"]


def test_of_an_event_given_twice_the_first_counts(ledger: Ledger) -> None:
    answered_by_ana(ledger, count=3)
    review = Review(
        event="twice",
        candidate="c001",
        decision="no",
        reviewer="ben",
        kind="person",
        answered_at=NOON,
        batch="b1",
    )
    ledger.reviews.record([review, review.model_copy(update={"decision": "yes"}), review])
    ledger.reviews.record([review])
    assert ledger.batches.counts("b1") == naive_counts(ledger, "b1")
    assert (ledger.batches.counts("b1").yes, ledger.batches.counts("b1").no) == (3, 1)


def test_what_is_asked_of_batches_in_one_query(ledger: Ledger) -> None:
    answered_by_ana(ledger, count=4)
    items = [
        ReviewItem(candidate="c001", answers_wanted=2),
        ReviewItem(candidate="new", answers_wanted=2, gold="no"),
    ]
    batch = ReviewBatch(name="b2", round=1, policy=QueuePolicy(), opened_at=NOON)
    ledger.batches.open(batch, items)
    assert ledger.batches.asking(["c000", "c001", "new", "unknown"]) == {
        "c000": "b1",
        "c001": "b2",
        "new": "b2",
    }
    assert ledger.batches.gold("b2") == {"new": "no"}
    for person in ("ana", "ben"):
        for lease in ledger.leases.lease("b2", person, 2, NOON):
            ledger.leases.answer(lease.lease, person, Answer(decision="yes", seconds=1.0), NOON)
    shared = [(review.candidate, review.reviewer, review.batch) for review in ledger.reviews.shared(2)]
    assert sorted(shared) == [("c001", "ana", "b1"), ("c001", "ana", "b2"), ("c001", "ben", "b2")]
    ledger.people.disable("ben", "", NOON)
    assert ledger.reviews.shared(2) == []


def test_a_restored_ledger_whose_sequence_is_behind_loses_no_event(postgres_url: str) -> None:
    """As after a restore by COPY: the rows have numbers that PostgreSQL's sequence does not know of."""
    ledger = open_ledger(postgres_url)
    ledger.people.add("ana", "token", NOON)
    with ledger._database.writing() as connection:
        values = {"person": "ana", "kind": "added", "reason": "", "recorded_at": NOON}
        restored = [{"sequence": number, "event": f"event {number}", **values} for number in (2, 3)]
        connection.execute(sa.insert(tables.person_events), restored)
    with pytest.raises(LedgerError, match="duplicate key"):
        ledger.people.disable("ana", "", NOON)
    assert not ledger.people.all()[0].excluded, "all or nothing"
