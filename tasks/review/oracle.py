"""Answer like a reviewer who knows the ground truth, and who errs at a stated rate as people do."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from prefect import task
from pydantic import BaseModel, ConfigDict, Field

from data_specs.assessment import QualityConfig
from data_specs.candidate import Candidate
from data_specs.errors import FlowError
from data_specs.keys import derive_key
from data_specs.review import Decision, Review
from data_specs.shard import ShardRef
from data_specs.triplet import Triplet
from tasks.evaluation.success import assess
from tasks.storage.shards import ShardReader, decode_candidates, decode_triplet
from tasks.storage.workspace import Workspace


class OracleConfig(BaseModel):
    """How the oracle answers."""

    model_config = ConfigDict(frozen=True)

    quality: QualityConfig = Field(default=QualityConfig(), description="The definition of a success.")
    error_rate: float = Field(
        default=0.02, ge=0, le=0.5, description="Fraction of wrong answers. People make errors, too."
    )
    seed: int = Field(default=0, ge=0, description="Seed that chooses the wrong answers.")


@dataclass(frozen=True, slots=True)
class Oracle:
    """Answers in place of people. It knows the pool's ground truth."""

    config: OracleConfig
    truths: dict[str, Triplet]
    """The truth of each pool item, by the item's key."""

    def answer(self, candidates: Sequence[Candidate]) -> list[Review]:
        """YES on a success, else NO with the reason. Stored as the oracle's answer, never as a person's."""
        return [self._answer(candidate) for candidate in candidates]

    def is_success(self, candidate: Candidate) -> bool:
        """The answer without human error."""
        return not self._fault(candidate)

    def _fault(self, candidate: Candidate) -> str:
        truth = self.truths[candidate.item]
        assessment = assess(
            candidate.removal, candidate.source, candidate.mask, truth.ground_truth, self.config.quality
        )
        return assessment.reason

    def _answer(self, candidate: Candidate) -> Review:
        reason = self._fault(candidate)
        slip = int(derive_key("oracle's slip", self.config.seed, candidate.key)[:8], 16) / 16**8
        wrong = slip < self.config.error_rate
        decision: Decision = "yes" if (reason == "") != wrong else "no"
        return Review(
            event=derive_key("review", candidate.key, "oracle", self.config.seed),
            candidate=candidate.key,
            decision=decision,
            reviewer="oracle",
            kind="oracle",
            reason="" if decision == "yes" else reason or "left-over",
            answered_at=datetime.now(UTC),
        )


def read_candidates(workspace: Workspace, ref: ShardRef) -> list[Candidate]:
    """All candidates of a shard, in order."""
    with ShardReader(workspace, [ref]) as reader:
        return list(decode_candidates(reader[i] for i in range(len(reader))))


def read_truths(workspace: Workspace, items: Collection[str]) -> dict[str, Triplet]:
    """The truth of those pool items whose truth is known, by key. Only the shards that hold it are opened."""
    holders = workspace.ledger().shards.holders_of(sorted(items), "truth")
    refs = {ref.name: ref for ref in holders.values()}
    with ShardReader(workspace, [refs[name] for name in sorted(refs)]) as reader:
        return {key: decode_triplet(reader.by_key(key)) for key in holders}


def oracle_for(workspace: Workspace, config: OracleConfig, candidates: Sequence[Candidate]) -> Oracle:
    """An oracle that knows the truth of these candidates.

    Raises:
        FlowError: If nobody knows the truth of one of them.
    """
    truths = read_truths(workspace, {c.item for c in candidates})
    unknown = {c.item for c in candidates}.difference(truths)
    if unknown:
        raise FlowError(
            f"the oracle cannot answer, because {len(unknown)} pool items, such as {min(unknown)}, "
            "have no known ground truth; set `human_review` and let people answer"
        )
    return Oracle(config, truths)


@task(task_run_name="oracle reviews {ref.name}")
def oracle_reviews(
    workspace: Workspace, ref: ShardRef, config: OracleConfig, asked: frozenset[str] | None = None
) -> dict[str, int]:
    """Answer a shard's candidates and write the reviews to the ledger.

    Args:
        workspace: Where.
        ref: The shard.
        config: How the oracle answers.
        asked: The candidates to answer. None: all.

    Returns:
        The number of ``yes`` and ``no``.
    """
    candidates = [c for c in read_candidates(workspace, ref) if asked is None or c.key in asked]
    reviews = oracle_for(workspace, config, candidates).answer(candidates)
    workspace.ledger().reviews.record(reviews)
    decisions = np.array([review.decision == "yes" for review in reviews])
    return {"yes": int(decisions.sum()), "no": int((~decisions).sum())}
