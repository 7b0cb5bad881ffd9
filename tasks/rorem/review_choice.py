"""Choose the pool items that people are asked about: some at random, the others where an answer teaches most.

A discriminator that is sure of an item learns little from its answer, and two alike items teach the same. The
random part is drawn without a look at the scores, so that estimates over the pool can stand on it.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from data_specs.keys import derive_key
from data_specs.shard import ShardRef
from models.rorem.discriminator import statistics_of
from tasks.review.oracle import read_candidates
from tasks.rorem.train_discriminator import score_arguments
from tasks.storage.workspace import Workspace


class ReviewChoice(BaseModel):
    """The items that people are asked about. The two parts hold no item twice."""

    model_config = ConfigDict(frozen=True)

    at_random: tuple[str, ...]
    """Every item had the same chance: estimates over the pool use these."""
    by_score: tuple[str, ...] = ()
    """Chosen by scores and embeddings, the most wanted first. They say nothing about the pool's success."""

    @property
    def items(self) -> tuple[str, ...]:
        """Both parts."""
        return self.at_random + self.by_score


def choose_for_review(
    embeddings: Mapping[str, NDArray[np.floating]],
    scores: Mapping[str, Sequence[float]] | None,
    count: int,
    random_fraction: float,
    seed: int,
) -> ReviewChoice:
    """Choose ``count`` of the items, or all if there are no more. The same arguments give the same choice.

    After the random part, the item with the largest product of uncertainty and distance comes next.
    Uncertainty is the mean of 4p(1 − p) over the item's candidates, 0..1. Distance is that to the nearest
    chosen item, as in k-centre greedy (arXiv 1708.00489). Items of which most candidates are expected to be
    good and the others take turns, as long as there are both.

    Args:
        embeddings: A vector of each item, all of one length. Alike items lie close together.
        scores: P(good) of each item's candidates, 0..1, one or more. None: all items are chosen at random.
        count: How many items, 0 or more.
        random_fraction: Fraction of ``count`` that is drawn at random, 0..1.
        seed: Decides the random part.
    """
    order = sorted(embeddings, key=lambda item: derive_key("review choice", seed, item))
    wanted = min(count, len(order))
    chance = wanted if scores is None else round(random_fraction * wanted)
    at_random, rest = order[:chance], order[chance:]
    if scores is None or not rest:
        return ReviewChoice(at_random=tuple(at_random))
    means = np.array([np.mean(scores[item]) for item in rest])
    unsure = np.array([np.mean([4 * p * (1 - p) for p in scores[item]]) for item in rest])
    vectors = np.stack([embeddings[item] for item in rest])
    distance = np.full(len(rest), np.inf)
    for item in at_random:
        distance = np.minimum(distance, _distances(vectors, embeddings[item]))
    places = _greedy(vectors, distance, unsure, means >= 0.5, wanted - chance)
    return ReviewChoice(at_random=tuple(at_random), by_score=tuple(rest[place] for place in places))


def _greedy(
    vectors: NDArray[np.floating],
    distance: NDArray[np.floating],
    unsure: NDArray[np.floating],
    expects_yes: NDArray[np.bool_],
    count: int,
) -> list[int]:
    """Places of ``count`` items of N.

    Args:
        vectors: N×K.
        distance: N, to the nearest item that is chosen already. Infinite if none is.
        unsure: N, 0..1.
        expects_yes: N.
        count: How many, at most N.
    """
    places: list[int] = []
    free = np.ones(len(vectors), bool)
    for turn in range(count):
        kind = free & (expects_yes == (turn % 2 == 0))
        allowed = kind if kind.any() else free
        # The first has nothing to be distant from.
        value = unsure if np.isinf(distance).all() else unsure * distance
        place = int(np.argmax(np.where(allowed, value, -1)))
        free[place] = False
        places.append(place)
        distance = np.minimum(distance, _distances(vectors, vectors[place]))
    return places


def _distances(vectors: NDArray[np.floating], vector: NDArray[np.floating]) -> NDArray[np.floating]:
    """Euclidean distances, N, of N×K vectors to one."""
    return np.linalg.norm(vectors - vector, axis=1)


def embeddings_of(workspace: Workspace, refs: Sequence[ShardRef]) -> dict[str, NDArray[np.floating]]:
    """A vector of each item of some shards of candidates: the mean of its candidates' statistics.

    Each statistic is standardised over all candidates, so that none outweighs the others.

    Args:
        workspace: Where.
        refs: Each holds all candidates of its items.
    """
    numbers: dict[str, list[NDArray[np.floating]]] = {}
    for ref in refs:
        shown = read_candidates(workspace, ref)
        # On the CPU the same candidates give the same numbers anywhere.
        measured = statistics_of(*score_arguments(shown), torch.device("cpu")).numpy()
        for candidate, row in zip(shown, measured, strict=True):
            numbers.setdefault(candidate.item, []).append(row)
    every = np.concatenate([np.stack(rows) for rows in numbers.values()])
    centre, scale = every.mean(0), every.std(0) + 1e-3
    return {item: (np.mean(rows, 0) - centre) / scale for item, rows in numbers.items()}
