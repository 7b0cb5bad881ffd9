"""Making review batches from candidate shards, with gold items of known answers."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime

from prefect import task
from pydantic import ValidationError

from data_specs.errors import InputError
from data_specs.review_batch import QueuePolicy, ReviewBatch, ReviewItem
from data_specs.shard import ShardRef
from tasks.review.oracle import OracleConfig, oracle_for, read_candidates
from tasks.review.plan import KnownAnswer, plan_items
from tasks.rorem.sample_pool import items_of
from tasks.storage.workspace import Workspace

_UNANIMOUS = 2
"""So many people must have said the same, and nobody otherwise, before their answer is gold."""


def make_batch(workspace: Workspace, name: str, refs: Sequence[ShardRef], policy: QueuePolicy) -> ReviewBatch:
    """Opens a batch that asks about every training candidate of some shards; opened twice, it is one.

    People are asked about nothing of the validation or test split.

    Raises:
        InputError: When there is nothing to ask about, or the name is none.
        LedgerError: When a batch of this name has other settings.
    """
    if not items_of(workspace, refs, "train"):
        raise InputError(
            name, "there are no candidates to review for training; propose some with `cleanplate round`"
        )
    try:
        batch = ReviewBatch(name=name, round=refs[0].round, policy=policy, opened_at=datetime.now(UTC))
    except ValidationError as error:
        raise InputError(name, "a batch's name has letters, digits and . _ -, 80 at most") from error
    ledger = workspace.ledger()
    if name not in {each.name for each in ledger.batches()}:
        ledger.open_batch(batch, _plan(workspace, refs, policy))
    else:
        ledger.open_batch(batch, [])
    return ledger.batch(name)


def known_answers(workspace: Workspace, refs: Sequence[ShardRef]) -> dict[str, KnownAnswer]:
    """Candidates that can serve as gold beside those of ``refs``.

    Those that people were unanimous about in earlier batches; where there are none, candidates of
    ``refs`` themselves whose pool item's truth is known, answered by the oracle without error. The
    latter then measure people and join no dataset.
    """
    unanimous = _unanimous(workspace, set(items_of(workspace, refs)))
    # Batches of earlier versions asked about validation candidates too.
    training = workspace.ledger().keys_of_split(list(unanimous), "train")
    return {key: unanimous[key] for key in unanimous if key in training} or _from_truth(workspace, refs)


def _plan(workspace: Workspace, refs: Sequence[ShardRef], policy: QueuePolicy) -> list[ReviewItem]:
    ledger, candidates = workspace.ledger(), items_of(workspace, refs, "train")
    scores = {} if policy.order == "random" else ledger.newest_scores(candidates)
    gold = known_answers(workspace, refs) if policy.gold_share > 0 else {}
    return plan_items(candidates, policy, scores, gold)


def _unanimous(workspace: Workspace, besides: set[str]) -> dict[str, KnownAnswer]:
    ledger = workspace.ledger()
    votes: dict[str, dict[str, KnownAnswer]] = defaultdict(dict)
    for batch in ledger.batches():
        gold = {item.candidate for item in ledger.batch_items(batch.name) if item.gold}
        for review in ledger.standing_reviews(batch.name):
            if review.candidate not in gold | besides and review.decision != "skip":
                votes[review.candidate][review.reviewer] = review.decision
    return {
        candidate: next(iter(given.values()))
        for candidate, given in votes.items()
        if len(given) >= _UNANIMOUS and len(set(given.values())) == 1
    }


def _from_truth(workspace: Workspace, refs: Sequence[ShardRef]) -> dict[str, KnownAnswer]:
    truth = workspace.ledger().shards(stage="truth")
    known = set(items_of(workspace, truth))
    found: dict[str, KnownAnswer] = {}
    for ref in refs:
        shown = read_candidates(workspace, ref)
        candidates = [each for each in shown if each.item in known and each.split == "train"]
        oracle = oracle_for(workspace, OracleConfig(), truth, candidates)
        found.update({each.key: "yes" if oracle.truly_good(each) else "no" for each in candidates})
    return found


@task(task_run_name="open review batch {batch}")
def open_batch(workspace: Workspace, batch: str, refs: tuple[ShardRef, ...], policy: QueuePolicy) -> None:
    """Ask people about every training candidate of some shards."""
    make_batch(workspace, batch, refs, policy)


@task(task_run_name="extend review batch {batch}")
def extend_batch(workspace: Workspace, batch: str, refs: tuple[ShardRef, ...]) -> None:
    """Ask people about more candidates in the same batch; told again, it changes nothing."""
    ledger = workspace.ledger()
    items = _plan(workspace, refs, ledger.batch(batch).policy)
    ledger.extend_batch(batch, items)
