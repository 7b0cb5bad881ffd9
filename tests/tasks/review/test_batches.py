"""Batches made from candidate shards, and where gold comes from."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from data_specs.errors import InputError, LedgerError
from data_specs.review import Decision
from data_specs.review_batch import Answer, QueuePolicy
from tasks.review.batches import known_answers, make_batch
from tasks.review.oracle import OracleConfig, oracle_for, read_candidates
from tasks.rorem.propose import ProposeWork, propose

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def test_made_twice_it_is_one(asked: SimpleNamespace) -> None:
    policy = QueuePolicy(overlap_fraction=0)
    make_batch(asked.workspace, "b1", [asked.ref], policy)
    assert len(asked.ledger.batches.items("b1")) == 12
    with pytest.raises(LedgerError, match="other settings"):
        make_batch(asked.workspace, "b1", [asked.ref], QueuePolicy(seed=5))
    with pytest.raises(InputError, match="no training candidates"):
        make_batch(asked.workspace, "b2", [], policy)


def test_gold_is_what_two_people_agreed_on(asked: SimpleNamespace) -> None:
    make_batch(asked.workspace, "b2", [asked.ref], QueuePolicy(overlap_fraction=1))
    said: dict[str, list[str]] = {}
    answers: dict[str, list[Decision]] = {
        "ana": ["yes", "yes", "no", "skip"],
        "ben": ["yes", "no", "no", "yes"],
    }
    for person, decisions in answers.items():
        leases = asked.ledger.leases.lease("b2", person, 4, NOON)
        for lease, decision in zip(leases, decisions, strict=True):
            asked.ledger.leases.answer(lease.lease, person, Answer(decision=decision, seconds=1), NOON)
            said.setdefault(lease.candidate, []).append(decision)
    agreed = {key: given[0] for key, given in said.items() if given in (["yes", "yes"], ["no", "no"])}
    assert len(agreed) == 2
    assert known_answers(asked.workspace, []) == agreed
    # Those a batch asks about anyway are not its gold.
    assert known_answers(asked.workspace, [asked.ref]) == {}


def test_gold_from_the_pools_truth(studio: SimpleNamespace) -> None:
    keys = tuple(row.key for row in studio.workspace.ledger().shards.samples_of(studio.pool.name))[:6]
    work = ProposeWork(
        round=1,
        index=0,
        phase="human 1",
        purpose="human",
        pool=(studio.pool,),
        items=keys,
        variants=("tight",),
        remover=studio.remover,
    )
    ref = propose(studio.workspace, work)
    candidates = read_candidates(studio.workspace, ref)
    oracle = oracle_for(studio.workspace, OracleConfig(), candidates)
    known = known_answers(studio.workspace, [ref])
    assert known == {each.key: "yes" if oracle.is_success(each) else "no" for each in candidates}
    make_batch(studio.workspace, "b1", [ref], QueuePolicy(gold_fraction=0.5, overlap_fraction=0))
    items = studio.workspace.ledger().batches.items("b1")
    assert len(items) == 6
    assert sum(item.gold is not None for item in items) == 3
