"""Make review batches from shards of candidates, mixed with gold items whose answers are known."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from prefect import task
from pydantic import ValidationError

from data_specs.errors import InputError
from data_specs.keys import derive_key
from data_specs.review import KnownAnswer
from data_specs.review_batch import QueuePolicy, ReviewBatch, ReviewItem
from data_specs.shard import ShardRef
from tasks.review.oracle import Oracle, OracleConfig, read_candidates, read_truths
from tasks.storage.workspace import Workspace, items_of

# The plan of a batch: which candidates come first, which are shared, and where gold is mixed in.

Entry = TypeVar("Entry")


def plan_items(
    candidates: Sequence[str],
    policy: QueuePolicy,
    scores: Mapping[str, float],
    gold: Mapping[str, KnownAnswer],
) -> list[ReviewItem]:
    """The items of a batch in the order of its queue. The same arguments give the same items.

    Args:
        candidates: Keys of the candidates.
        policy: Order, overlap and gold.
        scores: Discriminator scores, 0..1. A candidate without a score counts as 0.5.
        gold: Candidates with known answers to choose from. A gold candidate is asked as gold only.
    """
    chosen = _draw(list(gold), round(policy.gold_fraction * len(candidates)), "gold", policy.seed)
    plain = [key for key in candidates if key not in chosen]
    shared = _draw(plain, round(policy.overlap_fraction * len(plain)), "shared", policy.seed)
    items = [
        ReviewItem(candidate=key, answers_wanted=policy.overlap_people if key in shared else 1)
        for key in _ordered(plain, policy, scores)
    ]
    gold_keys = [
        ReviewItem(candidate=key, answers_wanted=policy.overlap_people, gold=gold[key])
        for key in sorted(chosen)
    ]
    places = [_fraction("gold's place", policy.seed, item.candidate) for item in gold_keys]
    return [item for _, item in sorted([*_spread(items), *zip(places, gold_keys, strict=True)], key=_place)]


def _ordered(keys: Sequence[str], policy: QueuePolicy, scores: Mapping[str, float]) -> list[str]:
    at_random = sorted(keys, key=lambda key: derive_key("queue", policy.seed, key))
    if policy.order == "random":
        return at_random
    by_need = sorted(at_random, key=lambda key: abs(scores.get(key, 0.5) - 0.5))
    if policy.order == "uncertain":
        return by_need
    needed = by_need[: round(policy.mixed_fraction * len(keys))]
    chosen = set(needed)
    others = [key for key in at_random if key not in chosen]
    return [key for _, key in sorted([*_spread(needed), *_spread(others)], key=_place)]


def _spread(entries: Sequence[Entry]) -> list[tuple[float, Entry]]:
    """Each entry with a position between 0 and 1, evenly spread, in the given order."""
    return [((number + 0.5) / len(entries), entry) for number, entry in enumerate(entries)]


def _place(entry: tuple[float, object]) -> float:
    return entry[0]


def _draw(keys: Sequence[str], count: int, purpose: str, seed: int) -> set[str]:
    return set(sorted(keys, key=lambda key: derive_key(purpose, seed, key))[:count])


def _fraction(*parts: object) -> float:
    return int(derive_key(*parts)[:13], 16) / 16**13


_UNANIMOUS = 2
"""An answer is gold if this many people gave it and nobody gave another."""


def make_batch(
    workspace: Workspace,
    name: str,
    refs: Sequence[ShardRef],
    policy: QueuePolicy,
    asked: frozenset[str] | None = None,
) -> ReviewBatch:
    """Open a batch that asks about training candidates of some shards. Opening it twice is harmless.

    People are asked about nothing of the validation and test splits, and about no training pair's candidates:
    its truth is known.

    Args:
        workspace: Where.
        name: The batch's name.
        refs: Shards of candidates.
        policy: Order, overlap and gold.
        asked: The candidates to ask about. None: all.

    Raises:
        InputError: If there is nothing to ask about, or the name is invalid.
        LedgerError: If a batch of this name has another policy.
    """
    refs = [ref for ref in refs if ref.purpose != "pairs"]
    if not items_of(workspace, refs, "train"):
        raise InputError(
            name, "there are no training candidates to review; make some with `cleanplate round`"
        )
    try:
        batch = ReviewBatch(name=name, round=refs[0].round, policy=policy, opened_at=datetime.now(UTC))
    except ValidationError as error:
        raise InputError(name, "a batch's name has at most 80 letters, digits and . _ -") from error
    ledger = workspace.ledger()
    present = any(batch.name == name for batch in ledger.batches.all())
    ledger.batches.open(batch, [] if present else _plan(workspace, refs, policy, asked))
    return ledger.batches.named(name)


def known_answers(workspace: Workspace, refs: Sequence[ShardRef]) -> dict[str, KnownAnswer]:
    """Candidates that can serve as gold beside those of ``refs``.

    These are candidates with unanimous answers in earlier batches. If there are none, they are candidates of
    ``refs`` whose pool item's truth is known; the oracle answers them without error. The latter then measure
    people and join no dataset.
    """
    unanimous = _unanimous(workspace, set(items_of(workspace, refs)))
    # Batches of earlier versions also asked about validation candidates.
    training = workspace.ledger().shards.keys_of_split(list(unanimous), "train")
    return {key: unanimous[key] for key in unanimous if key in training} or _from_truth(workspace, refs)


def _plan(
    workspace: Workspace, refs: Sequence[ShardRef], policy: QueuePolicy, asked: frozenset[str] | None
) -> list[ReviewItem]:
    ledger = workspace.ledger()
    candidates = [key for key in items_of(workspace, refs, "train") if asked is None or key in asked]
    scores = {} if policy.order == "random" else ledger.scores.newest(candidates)
    gold = known_answers(workspace, refs) if policy.gold_fraction > 0 else {}
    return plan_items(candidates, policy, scores, gold)


def _unanimous(workspace: Workspace, besides: set[str]) -> dict[str, KnownAnswer]:
    votes: dict[str, dict[str, KnownAnswer]] = defaultdict(dict)
    for review in workspace.ledger().reviews.shared(_UNANIMOUS):
        if review.candidate not in besides and review.decision != "skip":
            votes[review.candidate][review.reviewer] = review.decision
    return {
        candidate: next(iter(given.values()))
        for candidate, given in votes.items()
        if len(given) >= _UNANIMOUS and len(set(given.values())) == 1
    }


def _from_truth(workspace: Workspace, refs: Sequence[ShardRef]) -> dict[str, KnownAnswer]:
    answers: dict[str, KnownAnswer] = {}
    for ref in refs:
        candidates = [c for c in read_candidates(workspace, ref) if c.split == "train"]
        truths = read_truths(workspace, {c.item for c in candidates})
        oracle = Oracle(OracleConfig(), truths)
        answers |= {c.key: "yes" if oracle.is_success(c) else "no" for c in candidates if c.item in truths}
    return answers


@task(task_run_name="open review batch {batch}")
def open_batch(
    workspace: Workspace,
    batch: str,
    refs: tuple[ShardRef, ...],
    policy: QueuePolicy,
    asked: frozenset[str] | None = None,
) -> None:
    """Ask people about training candidates of some shards: about all of them if ``asked`` is None."""
    make_batch(workspace, batch, refs, policy, asked)


@task(task_run_name="extend review batch {batch}")
def extend_batch(
    workspace: Workspace, batch: str, refs: tuple[ShardRef, ...], asked: frozenset[str] | None = None
) -> None:
    """Ask people about more candidates in the same batch. A second call changes nothing."""
    ledger = workspace.ledger()
    items = _plan(workspace, refs, ledger.batches.named(batch).policy, asked)
    ledger.batches.extend(batch, items)
