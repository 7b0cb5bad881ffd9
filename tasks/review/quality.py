"""Measure the quality of people's answers: agreement, accuracy on gold, pace, and flags."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from statistics import median

import numpy as np

from data_specs.review import (
    Decision,
    KnownAnswer,
    PairAgreement,
    PersonQuality,
    QualityFlag,
    Review,
    ReviewQuality,
)
from tasks.storage.ledger import Ledger

MIN_ANSWERS = 20
"""Fewer answers than this flag nobody. For gold, a quarter of it is enough."""
TOO_FAST_S = 0.7
"""Median seconds for an answer. Below this, nobody has looked at two images."""
ALIKE = 0.97
"""A person whose answers have at least this fraction of one decision always says the same."""
MIN_RIGHT = 0.7
"""A person with a lower accuracy on gold is often wrong."""

Votes = Mapping[str, Mapping[str, Decision]]
"""Decision by candidate by person."""


def batch_quality(ledger: Ledger, batch: str) -> ReviewQuality:
    """The quality of a batch's answers so far.

    Raises:
        UnknownKeyError: If there is no such batch.
    """
    name = ledger.batches.named(batch).name
    gold = ledger.batches.gold(name)
    excluded = {person.name for person in ledger.people.all() if person.excluded}
    return quality_of(name, ledger.reviews.in_batch(name), gold, excluded)


_ASSUMED_ERROR, _ASSUMED_WEIGHT, _MOST_ERROR = 0.02, 50, 0.25
"""What is assumed of reviewers before they are measured, as if seen in so many answers; and the limit."""


def error_rate(qualities: Sequence[ReviewQuality]) -> float:
    """The fraction of wrong answers, from gold items and from pairs of people who disagree.

    Two people who err independently, each in a fraction e, disagree in 2e(1 - e) of the items they share.
    """
    answers, wrong = float(_ASSUMED_WEIGHT), _ASSUMED_WEIGHT * _ASSUMED_ERROR
    for quality in qualities:
        for person in quality.people:
            if not person.excluded:
                answers += person.gold_answers
                wrong += person.gold_answers - person.gold_right
        for pair in quality.pairs:
            apart = min(0.5, (pair.items - pair.agreed) / pair.items)
            answers += 2 * pair.items
            wrong += 2 * pair.items * (1 - math.sqrt(1 - 2 * apart)) / 2
    return min(_MOST_ERROR, wrong / answers)


def quality_of(
    batch: str, reviews: Sequence[Review], gold: Mapping[str, KnownAnswer], excluded: set[str]
) -> ReviewQuality:
    """The quality of some answers. Undone answers are not among them.

    Args:
        batch: Its name.
        reviews: In order of time. A person's last answer to a candidate counts.
        gold: Candidates with known answers.
        excluded: Disabled people. Their answers do not count in the agreement.
    """
    newest: dict[str, dict[str, Review]] = {}
    for review in reviews:
        newest.setdefault(review.reviewer, {})[review.candidate] = review
    people = [
        _person(name, list(given.values()), gold, name in excluded) for name, given in sorted(newest.items())
    ]
    votes: dict[str, dict[str, Decision]] = {
        name: {key: review.decision for key, review in given.items() if review.decision != "skip"}
        for name, given in sorted(newest.items())
        if name not in excluded
    }
    answered = Counter(candidate for given in votes.values() for candidate in given)
    return ReviewQuality(
        batch=batch,
        people=tuple(people),
        pairs=tuple(_pairs(votes)),
        alpha=krippendorff_alpha(votes),
        shared=sum(count > 1 for count in answered.values()),
    )


def cohen_kappa(first: Sequence[bool], second: Sequence[bool]) -> float | None:
    """Cohen's kappa of two people on the same items. None if it is undefined."""
    # Imported here: torch takes seconds, and the server shall start without that delay.
    import torch
    from torchmetrics.functional.classification import binary_cohen_kappa

    if not first or len({*first, *second}) < 2:
        return None
    return float(binary_cohen_kappa(torch.tensor(first).int(), torch.tensor(second).int()))


def krippendorff_alpha(votes: Votes) -> float | None:
    """Krippendorff's alpha for nominal data, people by items, with missing items. None if it is undefined.

    1 - (n - 1) · Σ o / Σ n·n over unequal decisions. o counts pairs of answers within an item, each divided
    by the item's answers less one. n counts the answers. Only items that two or more people answered count.
    """
    said: dict[str, Counter[Decision]] = {}
    for given in votes.values():
        for candidate, decision in given.items():
            said.setdefault(candidate, Counter())[decision] += 1
    counts = np.array([[tally["yes"], tally["no"], tally["skip"]] for tally in said.values()]).reshape(-1, 3)
    counts = counts[counts.sum(axis=1) > 1]
    answers, totals = counts.sum(axis=1), counts.sum(axis=0)
    if np.count_nonzero(totals) < 2:
        return None
    unequal = ((answers**2 - (counts**2).sum(axis=1)) / (answers - 1)).sum()
    expected = totals.sum() ** 2 - (totals**2).sum()
    return float(1 - (totals.sum() - 1) * unequal / expected)


def _pairs(votes: Votes) -> Iterable[PairAgreement]:
    for first, second in combinations(votes, 2):
        both = sorted(votes[first].keys() & votes[second].keys())
        if both:
            said = [[votes[person][key] == "yes" for key in both] for person in (first, second)]
            yield PairAgreement(
                first=first,
                second=second,
                items=len(both),
                agreed=sum(one == other for one, other in zip(*said, strict=True)),
                kappa=cohen_kappa(*said),
            )


def _person(
    name: str, reviews: Sequence[Review], gold: Mapping[str, KnownAnswer], excluded: bool
) -> PersonQuality:
    counts = Counter(review.decision for review in reviews)
    timed = [review.seconds for review in reviews if review.seconds is not None]
    gold_reviews = [review for review in reviews if review.candidate in gold and review.decision != "skip"]
    right = sum(review.decision == gold[review.candidate] for review in gold_reviews)
    seconds = median(timed) if timed else None
    return PersonQuality(
        person=name,
        excluded=excluded,
        answers=len(reviews),
        yes=counts["yes"],
        no=counts["no"],
        skipped=counts["skip"],
        median_seconds=seconds,
        gold_answers=len(gold_reviews),
        gold_right=right,
        flags=tuple(_flags(counts, seconds, len(gold_reviews), right)),
    )


def _flags(
    counts: Counter[str], seconds: float | None, gold_answers: int, right: int
) -> Iterable[QualityFlag]:
    if counts.total() >= MIN_ANSWERS:
        if seconds is not None and seconds < TOO_FAST_S:
            yield "answers too fast"
        if max(counts.values()) >= ALIKE * counts.total():
            yield "always says the same"
    if gold_answers >= MIN_ANSWERS / 4 and right < MIN_RIGHT * gold_answers:
        yield "often wrong on gold"
