"""Agreement against published, hand-worked examples; accuracy, pace and flags against counting."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest
from nltk.metrics.agreement import AnnotationTask

from data_specs.review import Decision, KnownAnswer, Review
from data_specs.review_batch import Answer, QueuePolicy, ReviewBatch, ReviewItem
from tasks.review.quality import (
    batch_quality,
    cohen_kappa,
    error_rate,
    krippendorff_alpha,
    quality_of,
)

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
WORDS: dict[str, Decision] = {"0": "no", "1": "yes", "s": "skip"}


def said(person: str, answers: str, seconds: float | None = 2.0) -> list[Review]:
    """One review a digit: 0 NO, 1 YES, s skip, a dot none."""
    return [
        Review(
            event=f"{person}{number}",
            candidate=f"c{number:03d}",
            decision=WORDS[each],
            reviewer=person,
            kind="person",
            answered_at=NOON + timedelta(seconds=number),
            seconds=seconds,
        )
        for number, each in enumerate(answers)
        if each != "."
    ]


def votes(*rows: str) -> dict[str, dict[str, Decision]]:
    return {
        f"p{number}": {f"c{place:03d}": WORDS[each] for place, each in enumerate(row) if each != "."}
        for number, row in enumerate(rows)
    }


def test_cohens_kappa_of_fifty_grant_proposals() -> None:
    """The textbook's table: both YES 20, both NO 15, only the first 5, only the second 10; kappa 0.4."""
    first = [True] * 20 + [False] * 15 + [True] * 5 + [False] * 10
    second = [True] * 20 + [False] * 15 + [False] * 5 + [True] * 10
    assert cohen_kappa(first, second) == pytest.approx(0.4, abs=1e-6)
    assert cohen_kappa([True, True], [True, True]) is None
    assert cohen_kappa([], []) is None


def test_krippendorffs_own_binary_example() -> None:
    """Computing Krippendorff's Alpha-Reliability (2011), part A: two observers, ten units, alpha 0.095."""
    assert krippendorff_alpha(votes("0100000010", "1110010000")) == pytest.approx(0.095, abs=5e-4)


def test_alpha_with_missing_answers_by_its_formula() -> None:
    """By hand, from the coincidences: alpha = 1 - (n - 1) o01 / (n0 n1)."""
    rows = votes("11.0.", "110.1", ".10..")
    # Pairable: c0 (1,1), c1 (1,1,1), c2 (0,0); c3 and c4 were answered once. All agree.
    assert krippendorff_alpha(rows) == pytest.approx(1.0)
    # c0 (1,0) and c1 (1,1,1), c2 (0,0): o01 = 1, n0 = 3, n1 = 4, n = 7.
    assert krippendorff_alpha(votes("11.", "010", ".10")) == pytest.approx(1 - 6 * 1 / (3 * 4))
    assert krippendorff_alpha(votes("1.", ".0")) is None
    assert krippendorff_alpha(votes("11", "11")) is None
    assert krippendorff_alpha({}) is None


@pytest.mark.parametrize("seed", range(12))
def test_alpha_is_nltks(seed: int) -> None:
    chance = np.random.default_rng(seed)
    answers = chance.choice([*"10s."], (chance.integers(2, 6), 30), p=[0.35, 0.3, 0.1, 0.25])
    rows = votes(*("".join(each) for each in answers))
    shared = {key for key in (f"c{n:03d}" for n in range(30)) if sum(key in row for row in rows.values()) > 1}
    said = [
        (person, key, decision)
        for person, row in rows.items()
        for key, decision in row.items()
        if key in shared
    ]
    assert krippendorff_alpha(rows) == pytest.approx(AnnotationTask(said).alpha(), abs=1e-12)


def test_people_are_counted_one_by_one() -> None:
    reviews = [*said("ana", "1101s1"), *said("ben", "1000.", seconds=None)]
    quality = quality_of("b", reviews, {"c000": "yes", "c001": "no", "c004": "yes"}, set())
    ana, ben = quality.people
    assert (ana.answers, ana.yes, ana.no, ana.skipped, ana.median_seconds) == (6, 4, 1, 1, 2.0)
    assert (ana.gold_answers, ana.gold_right) == (2, 1)
    assert (ben.gold_answers, ben.gold_right, ben.median_seconds) == (2, 2, None)
    (pair,) = quality.pairs
    assert (pair.first, pair.second, pair.items, pair.agreed, quality.shared) == ("ana", "ben", 4, 2, 4)


def test_flags_tell_who_may_not_be_looking() -> None:
    mixed = "10" * 20
    gold: dict[str, KnownAnswer] = {
        f"c{number:03d}": "yes" if each == "1" else "no" for number, each in enumerate(mixed[:10])
    }
    reviews = [
        *said("careful", mixed),
        *said("fast", mixed, seconds=0.5),
        *said("alike", "1" * 40),
        *said("wrong", "01" * 20),
        *said("new", "1" * 4, seconds=0.1),
    ]
    flags = {each.person: each.flags for each in quality_of("b", reviews, gold, set()).people}
    assert flags == {
        "careful": (),
        "fast": ("answers too fast",),
        "alike": ("always says the same", "often wrong on gold"),
        "wrong": ("often wrong on gold",),
        "new": (),
    }


def test_an_excluded_person_has_a_row_and_no_part_in_the_agreement(asked: SimpleNamespace) -> None:
    items = [ReviewItem(candidate=f"c{number}", answers_wanted=2) for number in range(4)]
    batch = ReviewBatch(name="b2", round=1, policy=QueuePolicy(), opened_at=NOON)
    asked.ledger.batches.open(batch, items)
    given: dict[str, Decision] = {"ana": "yes", "ben": "no"}
    for person, decision in given.items():
        for lease in asked.ledger.leases.lease("b2", person, 4, NOON):
            asked.ledger.leases.answer(lease.lease, person, Answer(decision=decision, seconds=1), NOON)
    whole = batch_quality(asked.ledger, "b2")
    assert (whole.shared, whole.pairs[0].agreed, whole.alpha) == (4, 0, pytest.approx(1 - 7 * 4 / 16))
    asked.ledger.people.disable("ben", "guesses", NOON)
    without = batch_quality(asked.ledger, "b2")
    assert [(each.person, each.excluded) for each in without.people] == [("ana", False), ("ben", True)]
    assert (without.shared, without.pairs, without.alpha) == (0, (), None)


@pytest.mark.parametrize("error", [0.01, 0.1, 0.2])
def test_the_error_rate_is_found_from_gold_and_from_people_who_disagree(error: float) -> None:
    """Two people err independently; of each kind of evidence alone, and of both together."""
    rng = np.random.default_rng(4)
    truth = rng.random(4000) < 0.5
    gold: dict[str, KnownAnswer] = {f"c{n:03d}": "yes" if good else "no" for n, good in enumerate(truth)}
    reviews = [
        review
        for person in ("ana", "ben")
        for review in said(person, "".join(str(int(yes)) for yes in truth ^ (rng.random(4000) < error)))
    ]
    of_ana = [review for review in reviews if review.reviewer == "ana"]
    by_gold = quality_of("b", of_ana, gold, set())
    by_overlap = quality_of("b", reviews, {}, set())
    for evidence in ([by_gold], [by_overlap], [quality_of("b", reviews, gold, set())]):
        assert error_rate(evidence) == pytest.approx(error, abs=0.02)


def test_reviewers_nobody_has_measured_are_assumed_to_err_little_and_never_by_half() -> None:
    assert error_rate([]) == pytest.approx(0.02)
    always_wrong: dict[str, KnownAnswer] = {f"c{n:03d}": "no" for n in range(900)}
    assert error_rate([quality_of("b", said("ana", "1" * 900), always_wrong, set())]) == 0.25
    excluded = quality_of("b", said("ana", "1" * 900), always_wrong, {"ana"})
    assert error_rate([excluded]) == pytest.approx(0.02), "a disabled person's answers do not count"
