"""One round of RORem: a human phase, then an automated one (papers.md, facts 2 and 3)."""

import time
from functools import partial

from prefect import flow
from pydantic import BaseModel, ConfigDict

from data_specs.errors import FlowError
from flows.report.phase_grids import publish_discriminator_once, publish_phase_once
from flows.rorem.config import RoundConfig
from flows.rorem.discriminator import DiscriminatorOutcome, discriminator_phase
from flows.rorem.human_review import ReviewRequest, review
from flows.rorem.phases import (
    Accepted,
    Phase,
    PhaseOutcome,
    PhaseStart,
    RoundRun,
    accept_by_score,
    begin,
    finish,
    finished,
    grow_version,
    propose_over_shards,
    train_and_compare,
)
from flows.rorem.review_choice import automated_items, choice_of, draw_items, unasked_items
from flows.runtime.runs import fail_cleanly
from tasks.rorem.grow import accepted_by_review, candidates_by_item, first_candidates
from tasks.rorem.score import good_by_truth
from tasks.storage.workspace import Workspace


class RoundOutcome(BaseModel):
    """A round's two phases and its discriminator: None for controls, and where the review was abandoned."""

    model_config = ConfigDict(frozen=True)

    human: PhaseOutcome
    automation: PhaseOutcome
    discriminator: DiscriminatorOutcome | None


@flow(name="rorem-round", flow_run_name="round {config.round}")
@fail_cleanly
def rorem_round(config: RoundConfig) -> RoundOutcome:
    """People label, the discriminator learns from them, then it labels alone; a retraining follows each.

    Run again after a kill it goes on where it stood; run again after its end it changes nothing.
    """
    run = RoundRun.open(config)
    human = human_phase(run)
    publish_phase_once(run, human)
    discriminator = discriminator_phase(run, human.standing)
    publish_discriminator_once(run, discriminator)
    automation = automated_phase(run, discriminator)
    publish_phase_once(run, automation, discriminator)
    return RoundOutcome(human=human, automation=automation, discriminator=discriminator)


def human_phase(run: RoundRun) -> PhaseOutcome:
    """Propose, review, grow, retrain: one YES of each item joins the dataset."""
    phase, began = run.phase("human"), time.monotonic()
    outcome = finished(run.workspace, phase)
    if outcome is not None:
        return outcome
    start = begin(run.workspace, phase, run.config.sampling)
    accepted = _accept_by_review(run, phase, start)
    return _grow_and_retrain(run, phase, start, accepted, began)


def automated_phase(run: RoundRun, discriminator: DiscriminatorOutcome | None) -> PhaseOutcome:
    """Propose, score, grow, retrain: the best candidate of each item joins, if its score is high enough."""
    phase, began = run.phase("automation"), time.monotonic()
    outcome = finished(run.workspace, phase)
    if outcome is not None:
        return outcome
    start = begin(run.workspace, phase, run.config.sampling)
    accepted = _accept_by_discriminator(run, phase, start, discriminator)
    return _grow_and_retrain(run, phase, start, accepted, began)


def _accept_by_review(run: RoundRun, phase: Phase, start: PhaseStart) -> Accepted:
    config, workspace = run.config, run.workspace
    if config.acceptance == "none":
        return Accepted()
    items = draw_items(run)
    propose = partial(propose_over_shards, workspace, phase, config.proposal, start.remover)
    request = ReviewRequest(items, propose(items))
    if config.acceptance == "all":
        return _accept_one_of_each(workspace, request)
    ask = choice_of(run, request.refs)
    request = review(workspace, phase, config.reviewers, request, propose, ask=ask)
    unasked = set(unasked_items(run))
    asked = [item for item in request.items if item not in unasked]
    if request.abandoned:
        return Accepted(asked, request.refs, [], "its review was abandoned, so nothing grew")
    candidates = candidates_by_item(workspace, request.refs)
    decisions = workspace.ledger().reviews.decisions([key for keys in candidates.values() for key in keys])
    yes = {key for key, decision in decisions.items() if decision == "yes"}
    return Accepted(asked, request.refs, accepted_by_review(candidates, yes))


def _accept_by_discriminator(
    run: RoundRun, phase: Phase, start: PhaseStart, discriminator: DiscriminatorOutcome | None
) -> Accepted:
    config, workspace = run.config, run.workspace
    if config.acceptance in ("none", "humans_only"):
        return Accepted()
    if config.acceptance == "discriminator" and discriminator is None:
        return Accepted(
            nothing_because="the review that calibrates the discriminator was abandoned, so nothing grew"
        )
    threshold = _threshold(run, discriminator)
    if threshold is None:
        # Before items are drawn, which then stay for other phases.
        reason = "the answers certify no set of the wanted purity, so nothing grew; review more items"
        return Accepted(nothing_because=reason)
    items = automated_items(run)
    refs = propose_over_shards(workspace, phase, config.proposal, start.remover, items)
    if config.acceptance == "oracle":
        good = good_by_truth(workspace, refs, config.oracle)
        yes = {key for key, is_good in good.items() if is_good}
        return Accepted(items, refs, accepted_by_review(candidates_by_item(workspace, refs), yes))
    if discriminator is None:
        return _accept_one_of_each(workspace, ReviewRequest(items, refs))
    scorer = discriminator.trained.discriminator
    return Accepted(items, refs, accept_by_score(workspace, phase, refs, scorer, threshold, config.workers))


def _threshold(run: RoundRun, discriminator: DiscriminatorOutcome | None) -> float | None:
    """The score above which a candidate is kept. None: the rule wants purity, and none is certified."""
    if discriminator is None or run.config.keep == "score":
        return run.config.score_threshold
    return discriminator.trained.pure_threshold


def _accept_one_of_each(workspace: Workspace, request: ReviewRequest) -> Accepted:
    """A control: growth without any decision."""
    return Accepted(
        request.items, request.refs, first_candidates(candidates_by_item(workspace, request.refs))
    )


def _grow_and_retrain(
    run: RoundRun, phase: Phase, start: PhaseStart, accepted: Accepted, began: float
) -> PhaseOutcome:
    """What was accepted joins, the remover is retrained; the ledger's record of the phase comes last."""
    config, workspace = run.config, run.workspace
    if start.version is None:
        raise FlowError("this workspace has no dataset version yet; run `cleanplate cycle` first")
    version, growth = grow_version(workspace, phase, accepted, start.version)
    retrained = train_and_compare(
        workspace, phase.name, start, version, config.remover_training, config.success
    )
    if accepted.nothing_because:
        retrained = retrained._replace(reason=f"{accepted.nothing_because}; {retrained.reason}")
    kind = "human" if phase.purpose == "human" else "automation"
    return finish(workspace, phase, kind, retrained, growth, began)
