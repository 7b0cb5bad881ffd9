"""Make the daily report from the ledger. The ledger knows what ran, whatever happened to the runs."""

from collections.abc import Sequence
from datetime import datetime
from math import sqrt

from pydantic import BaseModel, ConfigDict, Field

from data_specs.daily_report import DailyReport, Drift, NewShards, NewVersion, Prices, WorkDone
from data_specs.round import EndedPhase, PhaseResult
from data_specs.version import DatasetVersion
from tasks.storage.ledger import Ledger
from tasks.storage.workspace import Workspace

# Drift: whether an automated phase does what people did, and what it did before (papers.md, fact 4).


class DriftLimits(BaseModel):
    """How far two phases may differ."""

    model_config = ConfigDict(frozen=True)

    keep_rate: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="Maximum difference of the keep rates of the automated and the human phase. RORem's "
        "differ by up to 0.27.",
    )
    keep_rate_change: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Maximum change of the keep rate between two automated phases. RORem's fell by 0.05 "
        "and 0.12.",
    )
    score: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Maximum difference between the discriminator's mean score and people's fraction of YES.",
    )


def drifts(ledger: Ledger, phases: Sequence[PhaseResult], limits: DriftLimits) -> list[Drift]:
    """The comparisons for each automated phase, in the phases' order.

    Args:
        ledger: Holds the scores, the answers and all other phases.
        phases: The phases to compare.
        limits: A drift beyond them is an alarm.
    """
    ended = [phase.result for phase in ledger.results.all("phase", EndedPhase)]
    by_round = {(phase.kind, phase.round): phase for phase in ended if phase.tested}
    automated = {phase.round: phase for phase in phases if phase.kind == "automation" and phase.tested}
    comparisons: list[Drift] = []
    for round, phase in automated.items():
        if round is None:
            continue
        people, before = by_round.get(("human", round)), by_round.get(("automation", round - 1))
        if people is not None:
            comparisons.append(keep_drift(phase, people, limits.keep_rate))
            comparisons += _score_drift(ledger, round, phase, people, limits.score)
        if before is not None:
            comparisons.append(keep_drift(phase, before, limits.keep_rate_change))
    return comparisons


def keep_drift(phase: PhaseResult, against: PhaseResult, limit: float) -> Drift:
    """Compare the keep rates of two phases that tested something. The error is that of one common rate."""
    both = (phase.kept + against.kept) / (phase.tested + against.tested)
    return Drift(
        what="keep rate",
        phase=phase.name,
        against=against.name,
        expected=against.kept / against.tested,
        found=phase.kept / phase.tested,
        error=sqrt(both * (1 - both) * (1 / phase.tested + 1 / against.tested)),
        limit=limit,
    )


def _score_drift(
    ledger: Ledger, round: int, phase: PhaseResult, people: PhaseResult, limit: float
) -> list[Drift]:
    """A list with one drift, or an empty list if nobody answered or no discriminator scored."""
    answers = ledger.counts.answers(round, "human")
    answered = answers["yes"] + answers["no"]
    scores = ledger.counts.newest_scores(round, "automation")
    if not answered or scores is None:
        return []
    yes = answers["yes"] / answered
    # One YES and one NO are added. A few answers that agree by chance then still have an error.
    likely = (yes * people.tested + 1) / (people.tested + 2)
    spread = likely * (1 - likely) / people.tested + scores.deviation**2 / phase.tested
    drift = Drift(
        what="score",
        phase=phase.name,
        against=people.name,
        expected=yes,
        found=min(1.0, scores.mean),
        error=sqrt(spread),
        limit=limit,
    )
    return [drift]


_ACCEPTED = ("triplets", "grown", "composites")


def look_back(
    workspace: Workspace, since: datetime, until: datetime, prices: Prices, limits: DriftLimits
) -> DailyReport:
    """What happened from ``since`` to before ``until``. Both times have a time zone."""
    ledger = workspace.ledger()
    phases = [phase.result for phase in ledger.results.all("phase", EndedPhase, since=since, until=until)]
    shards = ledger.counts.shards(since, until)
    reviews = ledger.counts.reviews(since, until)
    return DailyReport(
        since=since,
        until=until,
        phases=phases,
        work=_work(ledger, since, until, prices),
        shards=[
            NewShards(stage=stage, shards=count.shards, samples=count.samples)
            for stage, count in shards.items()
        ],
        rejects=ledger.rejects.counts(since, until),
        reviews={f"{kind} {decision}": count for (kind, decision), count in reviews.items()},
        versions=new_versions(ledger.versions.all(), since, until),
        drifts=drifts(ledger, phases, limits),
        accepted=sum(shards[stage].samples for stage in _ACCEPTED if stage in shards),
        currency=prices.currency,
    )


def new_versions(versions: Sequence[DatasetVersion], since: datetime, until: datetime) -> list[NewVersion]:
    """The versions made in this period, and the growth of each."""
    sizes = {version.number: version.samples for version in versions}
    return [
        NewVersion(
            number=version.number,
            samples=version.samples,
            grown_by=version.samples - (sizes.get(version.parents[0], 0) if version.parents else 0),
            note=version.note,
        )
        for version in versions
        if since <= version.created_at < until
    ]


def _work(ledger: Ledger, since: datetime, until: datetime, prices: Prices) -> list[WorkDone]:
    return [
        WorkDone(what=what, pieces=pieces, seconds=seconds, cost=prices.cost(seconds))
        for what, (pieces, seconds) in ledger.costs.by_kind(since, until).items()
    ]
