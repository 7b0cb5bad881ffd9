"""Drift: whether a round's automated phase still does what its people did (RORem, stages 2 and 3)."""

from collections.abc import Sequence
from math import sqrt

from pydantic import BaseModel, ConfigDict, Field

from data_specs.morning import Drift
from data_specs.round import PhaseResult
from tasks.ledger import Ledger
from tasks.propose import FIRST_INDEX


class DriftLimits(BaseModel):
    """How far apart the two phases may be."""

    model_config = ConfigDict(frozen=True)

    keep_rate: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="Kept of tested items, automated against human. A judge that keeps above 0.9 only keeps "
        "less than people do, so this is wide.",
    )
    score: float = Field(
        default=0.1, ge=0, le=1, description="The judge's mean score against the people's share of YES."
    )


def drifts(ledger: Ledger, phases: Sequence[PhaseResult], limits: DriftLimits) -> list[Drift]:
    """Both comparisons of each round whose automated phase is among the phases, rounds in order.

    Args:
        ledger: Holds the scores, the answers and the human phases, whenever those ended.
        phases: Those that are asked about.
        limits: Beyond them a drift is an alarm.
    """
    human = {phase.name: phase for phase in ledger.phase_results() if phase.kind == "human"}
    found: list[Drift] = []
    for phase in {each.name: each for each in phases if each.kind == "automation"}.values():
        number = int(phase.name.split()[1])
        people = human.get(f"human {number}")
        if people is not None and people.tested and phase.tested:
            found.append(keep_drift(number, people, phase, limits.keep_rate))
            scores = _score_drift(ledger, number, people, phase, limits.score)
            found += [scores] if scores else []
    return found


def keep_drift(number: int, human: PhaseResult, automation: PhaseResult, limit: float) -> Drift:
    """Keep rates of two phases that tested something; the error is that of one rate for both."""
    both = (human.kept + automation.kept) / (human.tested + automation.tested)
    return Drift(
        what="keep rate",
        round=number,
        human=human.kept / human.tested,
        automation=automation.kept / automation.tested,
        error=sqrt(both * (1 - both) * (1 / human.tested + 1 / automation.tested)),
        limit=limit,
    )


def _score_drift(
    ledger: Ledger, number: int, human: PhaseResult, automation: PhaseResult, limit: float
) -> Drift | None:
    """None where nobody answered, or the judge in whose charge the round was scored nothing."""
    answers = ledger.answers_in_shards(FIRST_INDEX["human"], FIRST_INDEX["automation"], number)
    told = answers["yes"] + answers["no"]
    scores = ledger.newest_scores_in_shards(FIRST_INDEX["automation"], FIRST_INDEX["calibration"], number)
    if not told or scores is None:
        return None
    yes = answers["yes"] / told
    # One YES and one NO more, lest a few answers that happen to agree leave no room for chance.
    likely = (yes * human.tested + 1) / (human.tested + 2)
    spread = likely * (1 - likely) / human.tested + scores.deviation**2 / automation.tested
    return Drift(
        what="score",
        round=number,
        human=yes,
        automation=min(1.0, scores.mean),
        error=sqrt(spread),
        limit=limit,
    )
