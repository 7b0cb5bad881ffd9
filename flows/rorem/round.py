"""One round of RORem: a human phase, then an automated one (papers.md, facts 2 and 3)."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Literal

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from data_specs.errors import FlowError
from data_specs.keys import derive_key
from data_specs.shard import ShardRef
from flows.report.phase_grids import publish_phase_samples
from flows.rorem.config import RoundSettings
from flows.rorem.discriminator import DiscriminatorOutcome, discriminator_phase
from flows.rorem.human_review import ReviewPhase, ReviewRequest, review
from flows.rorem.phases import (
    PhaseOutcome,
    begin,
    finish,
    finished,
    grow_version,
    propose_over_shards,
    train_and_compare,
)
from flows.runtime.runs import fail_cleanly
from flows.runtime.shards import map_shards
from tasks.rorem.grow import accepted_by_review, accepted_by_score, candidates_by_item, first_candidates
from tasks.rorem.sample_pool import choose_items
from tasks.rorem.score import ScoreWork, score_shard
from tasks.storage.workspace import Workspace


class RoundNumber(BaseModel):
    """Which round; a last base's fields stand first in Prefect's form."""

    model_config = ConfigDict(frozen=True)

    round: int = Field(default=1, ge=1, le=999, description="Number of the round, from 1.")


class RoundConfig(RoundSettings, RoundNumber):
    """Which round, how many items people and the discriminator get, and how the models are trained."""


class RoundOutcome(BaseModel):
    """A round's two phases and its discriminator: None for controls, and where the review was abandoned."""

    model_config = ConfigDict(frozen=True)

    human: PhaseOutcome
    automation: PhaseOutcome
    discriminator: DiscriminatorOutcome | None


@flow(name="rorem-round", flow_run_name="round {config.round}")
@fail_cleanly
def rorem_round(config: RoundConfig) -> RoundOutcome:
    """Choose, propose, review, score, grow, retrain, compare: by people first, then by the discriminator.

    Run again after a kill it goes on where it stood; run again after its end it changes nothing.
    """
    workspace = Workspace.open(config.workspace)
    human = human_phase(config, workspace)
    discriminator = None
    if config.acceptance == "discriminator":
        discriminator = discriminator_phase(config, workspace, run_key(config), config.round, human.standing)
    automation = automation_phase(config, workspace, discriminator)
    return RoundOutcome(human=human, automation=automation, discriminator=discriminator)


def run_key(config: RoundConfig) -> str:
    """Names a run by its settings: the same settings go on with the same run, whoever does the work."""
    return derive_key("rorem", config.model_dump_json(exclude={"workspace", "round", "workers"}))


def human_phase(config: RoundConfig, workspace: Workspace) -> PhaseOutcome:
    """Candidates of unused items are reviewed; one YES of each item joins the dataset."""
    return _phase(config, workspace, "human", config.human_items, None)


def automation_phase(
    config: RoundConfig, workspace: Workspace, discriminator: DiscriminatorOutcome | None
) -> PhaseOutcome:
    """The discriminator scores candidates of unused items; each item's best joins if above the threshold."""
    return _phase(config, workspace, "automation", config.automation_items, discriminator)


def _phase(
    config: RoundConfig,
    workspace: Workspace,
    kind: Literal["human", "automation"],
    count: int,
    discriminator: DiscriminatorOutcome | None,
) -> PhaseOutcome:
    """Choose, propose, accept, grow, retrain, compare; the ledger's record of it comes last."""
    run, name, began = run_key(config), f"{kind} {config.round}", time.monotonic()
    known = finished(workspace, run, name)
    if known is not None:
        return known
    start = begin(workspace, run, name, config.sampling)
    if start.version is None:
        raise FlowError("this workspace has no dataset version yet; run `cleanplate cycle` first")
    asked = ReviewRequest([], [])
    if config.acceptance != "none" and not _lacks_discriminator(config, kind, discriminator):
        items = choose_items(workspace, f"{run} {name}", kind, count, config.seed)
        propose = partial(propose_over_shards, config, workspace, config.round, kind, remover=start.remover)
        asked = ReviewRequest(items, propose(items=items))
        if kind == "human" and config.acceptance in ("discriminator", "none_after_humans"):
            asked = review(config, workspace, run, ReviewPhase(kind, config.round), asked, propose)
    keys = [] if asked.abandoned else _accepted(config, workspace, kind, asked.refs, discriminator)
    version = grow_version(workspace, config.round, kind, asked.refs, keys, start.version)
    outcome = train_and_compare(
        config,
        workspace,
        kind,
        name,
        start,
        version,
        tested=len(asked.items),
        kept=len(keys),
        began=began,
        round=config.round,
    )
    if asked.abandoned:
        outcome = outcome.because("its review was abandoned, so nothing grew")
    if _lacks_discriminator(config, kind, discriminator):
        outcome = outcome.because(
            "the review that calibrates the discriminator was abandoned, so nothing grew"
        )
    publish_phase_samples(
        config,
        workspace,
        outcome,
        asked.refs,
        keys,
        discriminator.trained.discriminator if discriminator else None,
    )
    return finish(workspace, run, outcome)


def _lacks_discriminator(config: RoundConfig, kind: str, discriminator: DiscriminatorOutcome | None) -> bool:
    """Whether the phase wants a discriminator and the round has none."""
    return kind == "automation" and config.acceptance == "discriminator" and discriminator is None


def _accepted(
    config: RoundConfig,
    workspace: Workspace,
    kind: Literal["human", "automation"],
    refs: Sequence[ShardRef],
    discriminator: DiscriminatorOutcome | None,
) -> list[str]:
    """Keys of the candidates that join the dataset."""
    if not refs:
        return []
    items = candidates_by_item(workspace, refs)
    ledger = workspace.ledger()
    if config.acceptance == "all" or (config.acceptance == "none_after_humans" and kind == "automation"):
        return first_candidates(items)
    if kind == "human":
        asked = [key for keys in items.values() for key in keys]
        decided = ledger.decisions(asked)
        return accepted_by_review(items, {key for key, decision in decided.items() if decision == "yes"})
    assert discriminator is not None, "an automated phase that asks the discriminator has one"
    works = [ScoreWork(ref=ref, discriminator=discriminator.trained.discriminator) for ref in refs]
    map_shards(score_shard, workspace, works, config.workers, f"scores of {kind} {config.round}")
    return accepted_by_score(
        items, ledger.scores(discriminator.trained.discriminator.hash), config.score_threshold
    )
