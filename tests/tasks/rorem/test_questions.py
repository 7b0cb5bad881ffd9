"""Which candidates are judged: the best ones, any one, and half of either."""

from collections import Counter

from tasks.rorem.questions import best_of_items, calibrating_candidates, one_of_items

ITEMS = {f"item {n}": [f"{n} {variant}" for variant in ("a", "b", "c", "d")] for n in range(2000)}
SCORES = {
    key: (hash_ * 7919 % 1000) / 1000 for hash_, key in enumerate(k for keys in ITEMS.values() for k in keys)
}


def test_the_best_of_each_item_is_one_that_no_other_of_it_beats() -> None:
    best = best_of_items(ITEMS, SCORES)
    assert len(best) == len(ITEMS)
    for key, keys in zip(best, ITEMS.values(), strict=True):
        assert key in keys
        assert all(SCORES[key] >= SCORES[other] for other in keys)
    assert best_of_items({"x": ["p", "q"]}, {"p": 0.5, "q": 0.5}) == ["q"], "equal scores: the key decides"


def test_any_candidate_is_each_variant_as_often_and_the_seed_decides() -> None:
    drawn = one_of_items(ITEMS, seed=1)
    counts = Counter(key[-1] for key in drawn)
    assert all(430 <= counts[variant] <= 570 for variant in "abcd"), counts
    assert drawn == one_of_items(ITEMS, seed=1)
    assert drawn != one_of_items(ITEMS, seed=2)


def test_half_of_the_items_show_their_best_and_the_others_any() -> None:
    best, drawn = best_of_items(ITEMS, SCORES), one_of_items(ITEMS, seed=1)
    asked = calibrating_candidates(ITEMS, SCORES, seed=1)
    assert all(key in pair for key, pair in zip(asked, zip(best, drawn, strict=True), strict=True))
    # Half of them, and of the other half a quarter by chance.
    share = sum(one == two for one, two in zip(asked, best, strict=True)) / len(asked)
    assert 0.58 < share < 0.67
    assert calibrating_candidates({}, {}, seed=1) == []
