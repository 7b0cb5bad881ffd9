"""Judge: the discriminator scores candidates (RORem, stage 3), and is itself measured on fresh ones."""

from collections.abc import Sequence

import numpy as np
from prefect import task
from pydantic import BaseModel, ConfigDict

from data_specs.candidate import Candidate
from data_specs.keys import derive_key
from data_specs.round import DiscriminatorCurves, DiscriminatorResult
from data_specs.shard import ShardRef
from models.protocols import Discriminator
from models.rorem.calibration import area_under_curve, calibration_error, reliability
from tasks.execution import INLINE, WorkersConfig, run_shard
from tasks.execution.shard_task import RETRY_LOST_NETWORK
from tasks.review.oracle import OracleConfig, oracle_for, read_candidates
from tasks.rorem.train_discriminator import DiscriminatorRef, open_discriminator
from tasks.storage.pool import items_of
from tasks.storage.workspace import Workspace


class DiscriminatorMeasure(BaseModel):
    """A discriminator's figures and curves."""

    model_config = ConfigDict(frozen=True)

    result: DiscriminatorResult
    curves: DiscriminatorCurves


def score_all(discriminator: Discriminator, candidates: Sequence[Candidate]) -> list[float]:
    """Calibrated probability of each candidate, 0..1."""
    return discriminator.score(
        [c.source for c in candidates], [c.mask for c in candidates], [c.removal for c in candidates]
    )


class ScoreWork(BaseModel):
    """A discriminator's scores of one shard of candidates."""

    model_config = ConfigDict(frozen=True)

    ref: ShardRef
    discriminator: DiscriminatorRef

    @property
    def digest(self) -> str:
        """Names the work by the shard and the discriminator, wherever its weights lie."""
        return derive_key("scores", self.ref.name, self.discriminator.hash)


def score(workspace: Workspace, work: ScoreWork) -> int:
    """Score every candidate of a shard into the ledger.

    Returns:
        How many there are.
    """
    candidates = read_candidates(workspace, work.ref)
    scores = score_all(open_discriminator(workspace, work.discriminator), candidates)
    workspace.ledger().record_scores(
        work.discriminator.hash, dict(zip([c.key for c in candidates], scores, strict=True))
    )
    return len(scores)


@task(task_run_name="score {work.ref.name}", **RETRY_LOST_NETWORK)
def score_shard(workspace: Workspace, work: ScoreWork, workers: WorkersConfig = INLINE) -> int:
    """One shard's scores, given by a worker; how many there are."""
    return run_shard(workers, workspace, "score", work.digest, score, work)


def measure(
    scores: Sequence[float], good: Sequence[bool], score_threshold: float, round: int, reviewed: int
) -> DiscriminatorMeasure:
    """How far scores can be trusted.

    Args:
        scores: N calibrated probabilities of fresh candidates.
        good: N true answers.
        score_threshold: The automated phase's threshold.
        round: For the report.
        reviewed: Reviews the discriminator learnt from, for the report.
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
        # A calibrated discriminator's success rate is its mean probability, not the share above a threshold.
        success_gap=float(abs(values.mean() - truth.mean())),
    )
    curves = DiscriminatorCurves(
        round=round,
        scores_good=values[truth].tolist(),
        scores_bad=values[~truth].tolist(),
        reliability=reliability(scores, good),
    )
    return DiscriminatorMeasure(result=result, curves=curves)


def without_ground_truth(
    workspace: Workspace, refs: Sequence[ShardRef], truth: Sequence[ShardRef]
) -> list[ShardRef]:
    """The shards that hold a candidate of an item whose truth is unknown, as a photograph's is."""
    known = set(items_of(workspace, truth))
    return [ref for ref in refs if any(c.item not in known for c in read_candidates(workspace, ref))]


def good_by_truth(
    workspace: Workspace, refs: Sequence[ShardRef], truth: Sequence[ShardRef], oracle: OracleConfig
) -> dict[str, bool]:
    """Whether each candidate of some shards is truly good, by key, where its item's truth is known."""
    known = set(items_of(workspace, truth))
    candidates = [c for ref in refs for c in read_candidates(workspace, ref) if c.item in known]
    knower = oracle_for(workspace, oracle, truth, candidates)
    return {c.key: knower.is_success(c) for c in candidates}


@task(task_run_name="measure discriminator {round}")
def measure_discriminator(
    workspace: Workspace,
    refs: tuple[ShardRef, ...],
    good: dict[str, bool],
    discriminator: DiscriminatorRef,
    score_threshold: float,
    round: int,
    reviewed: int,
) -> DiscriminatorMeasure:
    """Score fresh candidates of items no discriminator was trained on, against answers it has not seen.

    Args:
        workspace: Where the shards lie.
        refs: Shards of the candidates.
        good: Candidate to its answer, from the pool's truth or from people; those without one are left out.
        discriminator: The discriminator.
        score_threshold: The automated phase's threshold.
        round: For the report.
        reviewed: Reviews the discriminator learnt from, for the report.
    """
    candidates = [c for ref in refs for c in read_candidates(workspace, ref) if c.key in good]
    scores = score_all(open_discriminator(workspace, discriminator), candidates)
    return measure(scores, [good[c.key] for c in candidates], score_threshold, round, reviewed)
