"""Planning a batch: which candidates come first, which are shared, and where gold is mixed in."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

from data_specs.keys import derive_key
from data_specs.review_batch import QueuePolicy, ReviewItem

KnownAnswer = Literal["yes", "no"]
Entry = TypeVar("Entry")


def plan_items(
    candidates: Sequence[str],
    policy: QueuePolicy,
    scores: Mapping[str, float],
    gold: Mapping[str, KnownAnswer],
) -> list[ReviewItem]:
    """The items of a batch in the order of its queue; the same arguments give the same items.

    Args:
        candidates: Their keys.
        policy: What is wanted.
        scores: The judge's, 0..1; a candidate without one counts as 0.5, nothing being known of it.
        gold: Candidates with known answers to choose from; one that is gold is asked as gold only.
    """
    chosen = _draw(list(gold), round(policy.gold_share * len(candidates)), "gold", policy.seed)
    plain = [key for key in candidates if key not in chosen]
    shared = _draw(plain, round(policy.overlap_share * len(plain)), "shared", policy.seed)
    items = [
        ReviewItem(candidate=key, answers_wanted=policy.overlap_people if key in shared else 1)
        for key in _ordered(plain, policy, scores)
    ]
    known = [
        ReviewItem(candidate=key, answers_wanted=policy.overlap_people, gold=gold[key])
        for key in sorted(chosen)
    ]
    places = [_fraction("gold's place", policy.seed, item.candidate) for item in known]
    return [item for _, item in sorted([*_spread(items), *zip(places, known, strict=True)], key=_place)]


def _ordered(keys: Sequence[str], policy: QueuePolicy, scores: Mapping[str, float]) -> list[str]:
    at_random = sorted(keys, key=lambda key: derive_key("queue", policy.seed, key))
    if policy.order == "random":
        return at_random
    by_need = sorted(at_random, key=lambda key: abs(scores.get(key, 0.5) - 0.5))
    if policy.order == "uncertain":
        return by_need
    needed = by_need[: round(policy.mixed_share * len(keys))]
    others = [key for key in at_random if key not in set(needed)]
    return [key for _, key in sorted([*_spread(needed), *_spread(others)], key=_place)]


def _spread(entries: Sequence[Entry]) -> list[tuple[float, Entry]]:
    """Each with its place between 0 and 1, evenly, in the order given."""
    return [((number + 0.5) / len(entries), entry) for number, entry in enumerate(entries)]


def _place(entry: tuple[float, object]) -> float:
    return entry[0]


def _draw(keys: Sequence[str], count: int, purpose: str, seed: int) -> set[str]:
    return set(sorted(keys, key=lambda key: derive_key(purpose, seed, key))[:count])


def _fraction(*parts: object) -> float:
    return int(derive_key(*parts)[:13], 16) / 16**13
