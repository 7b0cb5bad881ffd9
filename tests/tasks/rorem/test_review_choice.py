"""Which items are asked about: a uniform sample first, then what is uncertain and unlike the rest."""

from collections import Counter

import numpy as np
import pytest

from tasks.rorem.review_choice import ReviewChoice, choose_for_review

RNG = np.random.default_rng(0)
NAMES = [f"item {number}" for number in range(60)]
EMBEDDINGS = {name: RNG.normal(size=5) for name in NAMES}
SCORES = {name: RNG.uniform(0.02, 0.98, 4).tolist() for name in NAMES}


def chosen(count: int = 20, fraction: float = 1 / 3, seed: int = 0, **changes) -> ReviewChoice:
    given = {"embeddings": EMBEDDINGS, "scores": SCORES} | changes
    return choose_for_review(**given, count=count, random_fraction=fraction, seed=seed)


def test_the_same_is_chosen_in_any_order_of_the_items() -> None:
    choice = chosen()
    assert len(set(choice.items)) == len(choice.items) == 20
    assert len(choice.at_random) == 7
    backwards = dict(reversed(EMBEDDINGS.items()))
    assert chosen(embeddings=backwards, scores=dict(reversed(SCORES.items()))) == choice
    assert chosen(seed=1) != choice
    assert set(chosen(count=99).items) == set(NAMES), "there are no more"
    assert chosen(count=0).items == ()


def test_the_random_part_is_a_uniform_sample_whatever_the_scores_are() -> None:
    sure = {name: [0.0 if number % 2 else 1.0] for number, name in enumerate(NAMES)}
    counts: Counter[str] = Counter()
    for seed in range(600):
        part = chosen(seed=seed).at_random
        assert part == chosen(seed=seed, scores=sure).at_random
        counts.update(part)
    # Binomial(600, 7/60): mean 70, standard deviation 7.9.
    assert set(counts) == set(NAMES)
    assert 40 < min(counts.values()) < 70 < max(counts.values()) < 100
    # Chi-squared with 59 degrees of freedom stays below 98.3 in 999 of 1,000 cases.
    spread = sum((counts[name] - 70) ** 2 for name in NAMES) / (70 * 53 / 60)
    assert spread < 98.3


def test_without_scores_all_are_random() -> None:
    choice = chosen(scores=None)
    assert choice.by_score == ()
    assert len(choice.at_random) == 20
    assert choice.at_random[:7] == chosen().at_random


def test_uncertain_items_are_preferred() -> None:
    unsure = set(NAMES[::6])
    scores = {name: [0.45, 0.55] if name in unsure else [0.001, 0.999] for name in NAMES}
    assert set(chosen(count=10, fraction=0, scores=scores).items) == unsure


@pytest.mark.parametrize("fraction", [0.0, 0.25])
def test_two_alike_items_are_not_both_chosen_while_others_are_left(fraction: float) -> None:
    places = {name: np.array([float(number // 2), number % 2 * 1e-6]) for number, name in enumerate(NAMES)}
    even = dict.fromkeys(NAMES, [0.5])
    for seed in range(20):
        items = chosen(12, fraction, seed, embeddings=places, scores=even)
        apart = [NAMES.index(name) // 2 for name in items.items]
        # Two random ones may be alike; no other is like any chosen one.
        assert len(set(apart)) >= 12 - (len(items.at_random) // 2)
        for position, pair in enumerate(apart[len(items.at_random) :], start=len(items.at_random)):
            assert pair not in apart[:position]


def test_expected_yes_and_expected_no_take_turns_while_there_are_both() -> None:
    good = set(NAMES[:50])
    scores = {name: [0.7] if name in good else [0.3] for name in NAMES}
    items = chosen(count=30, fraction=0, scores=scores).by_score
    kinds = [name in good for name in items]
    assert kinds == [True, False] * 10 + [True] * 10, "there are ten of the others"
