"""Score candidates with the discriminator (papers.md, fact 3), and measure it on fresh candidates."""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
from prefect import task
from pydantic import BaseModel, ConfigDict

from data_specs.candidate import Candidate
from data_specs.keys import derive_key
from data_specs.round import DiscriminatorCurves, DiscriminatorResult, KeptSet
from data_specs.shard import ShardRef
from models.protocols import Discriminator
from models.rorem.calibration import area_under_curve, calibration_error, reliability
from tasks.execution.shard_task import shard_task
from tasks.review.oracle import Oracle, OracleConfig, read_truths
from tasks.rorem.grow import candidates_by_item
from tasks.rorem.questions import best_of_items, one_of_items
from tasks.rorem.train_discriminator import DiscriminatorRef, open_discriminator, score_arguments
from tasks.storage.shards import ShardReader, candidate_items, decode_candidates
from tasks.storage.workspace import Workspace

_ITEMS_AT_ONCE = 64
"""Items whose candidates are in memory together. A discriminator's batches are cut at the same places."""


class DiscriminatorMeasure(BaseModel):
    """The figures and curves of a discriminator."""

    model_config = ConfigDict(frozen=True)

    result: DiscriminatorResult
    curves: DiscriminatorCurves


def score_all(discriminator: Discriminator, candidates: Sequence[Candidate]) -> list[float]:
    """The calibrated probability of each candidate, 0..1."""
    return discriminator.score(*score_arguments(candidates))


class ScoreWork(BaseModel):
    """The input of scoring one shard with one discriminator. The shard holds all candidates of its items."""

    model_config = ConfigDict(frozen=True)

    ref: ShardRef
    discriminator: DiscriminatorRef

    @property
    def digest(self) -> str:
        """The name of the work. It follows from shard and discriminator, not from the weights' location."""
        return derive_key("scores", self.ref.name, self.discriminator.hash)


def score(workspace: Workspace, work: ScoreWork) -> int:
    """Score every candidate of a shard and write the scores to the ledger.

    Returns:
        The number of candidates.
    """
    scores = _scores(workspace, [work.ref], work.discriminator)
    workspace.ledger().scores.record(work.discriminator.hash, scores)
    return len(scores)


def _scores(
    workspace: Workspace, refs: Sequence[ShardRef], discriminator: DiscriminatorRef
) -> dict[str, float]:
    """The score of every candidate of some shards, by its key. A few items are in memory at once."""
    model, scores = open_discriminator(workspace, discriminator), dict[str, float]()
    for shown in _in_parts(_read(workspace, refs)):
        scores.update(zip([c.key for c in shown], score_all(model, shown), strict=True))
    return scores


def _read(workspace: Workspace, refs: Sequence[ShardRef]) -> Iterator[Candidate]:
    """The candidates of some shards, in order, one shard open at a time."""
    for ref in refs:
        with ShardReader(workspace, [ref]) as reader:
            yield from decode_candidates(reader[position] for position in range(len(reader)))


def _in_parts(candidates: Iterable[Candidate]) -> Iterator[list[Candidate]]:
    """Lists of whole items: candidates of one item are compared with each other."""
    part: list[Candidate] = []
    for number, (_, of_item) in enumerate(groupby(candidates, lambda candidate: candidate.proposal)):
        if part and number % _ITEMS_AT_ONCE == 0:
            yield part
            part = []
        part += of_item
    if part:
        yield part


score_shard = shard_task(score, "score", "{work.ref.name}", cached=False)


class Rules(NamedTuple):
    """What decides whether an item's best candidate is kept: its score, or the purity of all that is kept."""

    score_threshold: float
    """Each kept one scores above it (RORem: 0.9)."""
    pure_threshold: float | None
    """The kept ones are as pure as was asked above it. None: no threshold is certified."""


def measure(
    scores: Sequence[float], good: Sequence[bool], score_threshold: float, round: int, reviewed: int
) -> DiscriminatorMeasure:
    """Measure how far scores can be trusted.

    Args:
        scores: N calibrated probabilities of fresh candidates, 0..1, one of each item.
        good: N true answers.
        score_threshold: The threshold of the automated phase.
        round: Number of the round, for the report.
        reviewed: Number of reviews that trained the discriminator, for the report.
    """
    values, truth = np.asarray(scores), np.asarray(good, bool)
    kept = values > score_threshold
    result = DiscriminatorResult(
        round=round,
        reviewed=reviewed,
        tested=len(values),
        precision=float(truth[kept].mean()) if kept.any() else None,
        recall=float((kept & truth).sum() / max(1, truth.sum())),
        auc=area_under_curve(scores, good),
        base_rate=float(truth.mean()),
        calibration_error=calibration_error(scores, good),
        # The success rate of a calibrated discriminator is its mean probability,
        # not the fraction above a threshold.
        success_gap=float(abs(values.mean() - truth.mean())),
        success_gap_error=float(np.std(values - truth) / np.sqrt(len(values))),
    )
    curves = DiscriminatorCurves(
        round=round,
        scores_good=values[truth].tolist(),
        scores_bad=values[~truth].tolist(),
        reliability=reliability(scores, good),
    )
    return DiscriminatorMeasure(result=result, curves=curves)


def kept_above(threshold: float | None, scores: Sequence[float], good: Sequence[bool]) -> KeptSet:
    """What a threshold keeps of items' best candidates. None keeps nothing.

    Args:
        threshold: 0..1.
        scores: N scores, of the best candidate of each item.
        good: N true answers.
    """
    minimum = math.inf if threshold is None else threshold
    kept = [yes for score, yes in zip(scores, good, strict=True) if score > minimum]
    return KeptSet(threshold=threshold, items=len(scores), kept=len(kept), good=sum(kept))


def without_ground_truth(workspace: Workspace, refs: Sequence[ShardRef]) -> list[ShardRef]:
    """The shards with a candidate of an item whose truth is unknown, such as a photograph."""
    items = candidate_items(workspace, refs)
    ledger = workspace.ledger().shards
    rows = ledger.samples_in([ref.name for ref in refs])
    held = ledger.holders_of(list(set(items.values())), "truth")
    return [ref for ref in refs if any(items[row.key] not in held for row in rows[ref.name])]


def good_by_truth(workspace: Workspace, refs: Sequence[ShardRef], oracle: OracleConfig) -> dict[str, bool]:
    """Whether each candidate is truly good, by key, for the items whose truth is known."""
    good: dict[str, bool] = {}
    for shown in _in_parts(_read(workspace, refs)):
        truths = read_truths(workspace, {c.item for c in shown})
        informed = Oracle(oracle, truths)
        good.update({c.key: informed.is_success(c) for c in shown if c.item in truths})
    return good


@task(task_run_name="measure discriminator {round}")
def measure_discriminator(
    workspace: Workspace,
    refs: tuple[ShardRef, ...],
    good: dict[str, bool],
    discriminator: DiscriminatorRef,
    rules: Rules,
    round: int,
    reviewed: int,
    seed: int,
) -> DiscriminatorMeasure:
    """Score fresh candidates of items that trained no discriminator, and compare with unseen answers.

    Scores are measured on one candidate of each item, drawn by the seed. What the rules keep is measured on
    the best of each item, as a phase chooses.

    Args:
        workspace: The workspace of the shards.
        refs: Shards of candidates.
        good: Answer by candidate, from the pool's truth or from people. Candidates without one are left out.
        discriminator: The discriminator to measure.
        rules: The thresholds of the automated phase.
        round: Number of the round, for the report.
        reviewed: Number of reviews that trained the discriminator, for the report.
        seed: Draws the candidate of each item.
    """
    scores = _scores(workspace, refs, discriminator)
    items = candidates_by_item(workspace, refs)
    drawn = [key for key in one_of_items(items, seed) if key in good]
    best = [key for key in best_of_items(items, scores) if key in good]
    measured = measure(
        [scores[k] for k in drawn], [good[k] for k in drawn], rules.score_threshold, round, reviewed
    )
    by_rule = [
        kept_above(threshold, [scores[k] for k in best], [good[k] for k in best])
        for threshold in (rules.score_threshold, rules.pure_threshold)
    ]
    result = measured.result.model_copy(update={"by_score": by_rule[0], "by_purity": by_rule[1]})
    return measured.model_copy(update={"result": result})
