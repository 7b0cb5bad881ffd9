"""Choose which candidate of each item counts: the best, any one, or what calibrates a discriminator."""

from collections.abc import Mapping, Sequence

from data_specs.keys import derive_key


def best_of_items(items: Mapping[str, Sequence[str]], scores: Mapping[str, float]) -> list[str]:
    """The candidate with the best score of each item. Equal scores are decided by the key.

    Args:
        items: Candidate keys of each item.
        scores: Each candidate's score.
    """
    return [max(keys, key=lambda key: (scores[key], key)) for keys in items.values()]


def one_of_items(items: Mapping[str, Sequence[str]], seed: int) -> list[str]:
    """One candidate of each item, whatever its score. The seed decides which."""
    return [keys[_draw("any candidate", seed, item) % len(keys)] for item, keys in items.items()]


def calibrating_candidates(
    items: Mapping[str, Sequence[str]], scores: Mapping[str, float], seed: int
) -> list[str]:
    """One candidate of each item, on which to calibrate: the best of half of the items, any of the others.

    A phase keeps best ones, so they decide its threshold. The others keep low scores' probabilities right.

    Args:
        items: Candidate keys of each item.
        scores: Each candidate's score.
        seed: Decides which half, and which candidate.
    """
    best, others = best_of_items(items, scores), one_of_items(items, seed)
    halves = [_draw("best candidate", seed, item) % 2 == 0 for item in items]
    return [one if half else other for one, other, half in zip(best, others, halves, strict=True)]


def _draw(what: str, seed: int, item: str) -> int:
    return int(derive_key(what, seed, item)[:8], 16)
