"""The plan of a batch: every candidate once, shares as stated, order by need, gold among the others."""

import time

import pytest

from data_specs.review import KnownAnswer
from data_specs.review_batch import QueuePolicy
from tasks.review.batches import plan_items

KEYS = [f"c{number:04d}" for number in range(1000)]
SCORES = {key: number / 1000 for number, key in enumerate(KEYS)}


def order(policy: QueuePolicy, scores=SCORES) -> list[str]:
    return [item.candidate for item in plan_items(KEYS, policy, scores, {})]


def test_the_seed_alone_decides() -> None:
    first = order(QueuePolicy(seed=1))
    assert sorted(first) == KEYS
    assert first == order(QueuePolicy(seed=1), scores={})
    assert first != order(QueuePolicy(seed=2))
    assert first != KEYS


def test_a_share_of_the_items_is_shared() -> None:
    items = plan_items(KEYS, QueuePolicy(overlap_people=3, overlap_fraction=0.2), {}, {})
    assert [item.answers_wanted for item in items].count(3) == 200
    assert [item.answers_wanted for item in items].count(1) == 800


def test_nearest_to_the_discriminators_half_comes_first() -> None:
    distances = [abs(SCORES[key] - 0.5) for key in order(QueuePolicy(order="uncertain"))]
    assert distances == sorted(distances)
    # Of a candidate that no discriminator has scored nothing is known: it is as uncertain as can be.
    unscored = {key: score for key, score in SCORES.items() if key not in ("c0003", "c0999")}
    assert {"c0003", "c0999"} < set(order(QueuePolicy(order="uncertain"), unscored)[:3])


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_mix_takes_its_share_by_need_all_along(share: float) -> None:
    mixed = order(QueuePolicy(order="mixed", mixed_fraction=share))
    assert sorted(mixed) == KEYS
    needed = set(sorted(KEYS, key=lambda key: abs(SCORES[key] - 0.5))[: round(share * 1000)])
    for part in (mixed[:100], mixed[450:550], mixed[900:]):
        assert sum(key in needed for key in part) == pytest.approx(100 * share, abs=1)


def test_gold_lies_among_the_others_and_is_asked_as_gold_only() -> None:
    gold: dict[str, KnownAnswer] = dict.fromkeys(KEYS[:100], "yes")
    gold |= {f"old{number}": "no" for number in range(100)}
    items = plan_items(KEYS, QueuePolicy(gold_fraction=0.1, overlap_fraction=0), {}, gold)
    known = [item for item in items if item.gold]
    assert len(known) == 100
    assert all(item.gold == gold[item.candidate] and item.answers_wanted == 2 for item in known)
    assert len({item.candidate for item in items}) == len(items)
    places = [place / len(items) for place, item in enumerate(items) if item.gold]
    assert sum(places) / len(places) == pytest.approx(0.5, abs=0.1)


def test_a_mixed_order_takes_hardly_longer_than_a_random_one() -> None:
    keys = [f"c{number:05d}" for number in range(8_000)]
    seconds = []
    for policy in (QueuePolicy(order="random"), QueuePolicy(order="mixed")):
        began = time.process_time()
        plan_items(keys, policy, {}, {})
        seconds.append(time.process_time() - began)
    assert seconds[1] < 5 * seconds[0], "a set for each key took 30 times as long"
