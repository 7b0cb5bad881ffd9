"""The oracle's answers against the assessment, its errors against the binomial law."""

import numpy as np
import pytest

from data_specs.assessment import QualityConfig
from data_specs.candidate import Candidate
from data_specs.keys import derive_key
from data_specs.triplet import Triplet
from models.images.mask_variants import MaskVariant
from tasks.evaluation.success import assess
from tasks.review.oracle import Oracle, OracleConfig, oracle_for, oracle_reviews, read_candidates, read_truths
from tasks.rorem.propose import ProposeWork, propose

COUNT = 2000
VARIANTS: tuple[MaskVariant, ...] = ("tight", "dilated")


@pytest.fixture(scope="module")
def truths(filmed) -> dict[str, Triplet]:
    keys = {row.key for row in filmed.workspace.ledger().shards.samples_of(filmed.pool.name)}
    return read_truths(filmed.workspace, keys)


@pytest.fixture(scope="module")
def candidates(truths: dict[str, Triplet]) -> list[Candidate]:
    """Even ones are the truth itself, odd ones the source untouched."""
    known = list(truths.values())
    return [candidate(known[n % len(known)], n, good=n // len(known) % 2 == 0) for n in range(COUNT)]


def candidate(truth: Triplet, number: int, *, good: bool) -> Candidate:
    return Candidate(
        key=derive_key("synthetic", number),
        item=truth.key,
        scene=truth.scene,
        split="train",
        class_name="sphere",
        variant="tight",
        model_hash="none",
        source_hash="none",
        source=truth.source,
        mask=truth.mask,
        removal=truth.ground_truth if good else truth.source,
    )


def test_without_error_it_says_what_the_assessment_says(
    truths: dict[str, Triplet], candidates: list[Candidate]
) -> None:
    oracle = Oracle(OracleConfig(error_rate=0), truths)
    for shown, review in zip(candidates[:200], oracle.answer(candidates[:200]), strict=True):
        truth = truths[shown.item]
        found = assess(shown.removal, shown.source, shown.mask, truth.ground_truth, QualityConfig())
        assert (review.decision, review.reason) == ("yes" if found.success else "no", found.reason)
        assert oracle.is_success(shown) == found.success
        assert review.candidate == shown.key
        assert (review.kind, review.reviewer) == ("oracle", "oracle"), "never a person's"


def test_it_errs_at_its_rate_both_ways_and_the_same_way_again(
    truths: dict[str, Triplet], candidates: list[Candidate]
) -> None:
    rate = 0.05
    oracle = Oracle(OracleConfig(error_rate=rate), truths)
    reviews = oracle.answer(candidates)
    truly = [oracle.is_success(shown) for shown in candidates]
    wrong = np.array([(r.decision == "yes") != good for r, good in zip(reviews, truly, strict=True)])
    # Four standard errors of Binomial(2000, 0.05): 61 to 139.
    assert abs(wrong.sum() - COUNT * rate) < 4 * np.sqrt(COUNT * rate * (1 - rate))
    for kind in (True, False):
        share = wrong[np.array(truly) == kind]
        assert abs(share.mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / len(share))
    assert all(bool(r.reason) == (r.decision == "no") for r in reviews)
    again = oracle.answer(candidates[:50])
    assert [(r.event, r.decision) for r in again] == [(r.event, r.decision) for r in reviews[:50]]
    other = Oracle(OracleConfig(error_rate=rate, seed=1), truths).answer(candidates)
    assert [r.decision for r in other] != [r.decision for r in reviews]
    assert len({r.event for r in [*reviews, *other]}) == 2 * COUNT


def test_a_shard_is_answered_into_the_ledger_once(studio) -> None:
    items = tuple(row.key for row in studio.workspace.ledger().shards.samples_of(studio.pool.name))[:6]
    work = ProposeWork(
        round=1,
        index=0,
        phase="human 1",
        purpose="human",
        pool=(studio.pool,),
        items=items,
        variants=VARIANTS,
        remover=studio.remover,
    )
    ref, config = propose(studio.workspace, work), OracleConfig(error_rate=0)
    counts = oracle_reviews.fn(studio.workspace, ref, config)
    assert oracle_reviews.fn(studio.workspace, ref, config) == counts
    shown = read_candidates(studio.workspace, ref)
    oracle = oracle_for(studio.workspace, config, shown)
    good = {c.key for c in shown if oracle.is_success(c)}
    stored = studio.workspace.ledger().reviews.all()
    assert {r.candidate for r in stored if r.decision == "yes"} == good
    assert len(stored) == len(shown) == 12
    assert counts == {"yes": len(good), "no": 12 - len(good)}
    assert {r.kind for r in stored} == {"oracle"}
