"""The round that waits for people: it opens a batch, suspends, and goes on when the batch is answered.

On resume Prefect runs the flow's body again from its top, so everything here may be done twice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.settings import PREFECT_API_URL
from pydantic import Field

from data_specs.errors import FlowError
from data_specs.review_batch import BatchCounts
from data_specs.shard import ShardRef
from flows.rorem.config import Reviewers
from flows.rorem.phases import Phase
from flows.runtime.shards import tracked
from tasks.review.batches import extend_batch, open_batch
from tasks.review.oracle import oracle_reviews
from tasks.review.suspended_runs import WaitingRun, batch_ending, pause_key, remember_waiting, settle
from tasks.rorem.sample_pool import choose_items, unused_count
from tasks.storage.workspace import Workspace


class PeopleDecision(RunInput):
    """Prefect's form while a batch is under review; with a default, an empty form would decide."""

    decision: Literal["continue", "extend", "abandon"] = Field(
        description="What the run does next. continue: use the answers so far. extend: ask about more "
        "items. abandon: end this phase without growth."
    )
    items: int = Field(default=100, ge=1, le=100_000, description="Number of further items for extend.")


@dataclass(frozen=True, slots=True)
class ReviewRequest:
    """What a phase asked people about, extensions too."""

    items: list[str]
    refs: list[ShardRef]
    abandoned: bool = False


Propose = Callable[[Sequence[str], int], list[ShardRef]]
"""(items, shards the phase has already) → shards of the items' candidates."""

Ask = Callable[[Sequence[ShardRef]], frozenset[str]]
"""Shards of candidates → the keys of those that are asked about."""

Decide = Callable[[Workspace, str, int], PeopleDecision]
"""(workspace, batch, how often it was extended) → what is decided."""


def suspended(workspace: Workspace, batch: str, extensions: int) -> PeopleDecision:
    """Suspend the flow run until somebody decides; its process ends here and the body runs again.

    Raises:
        FlowError: If the run has no deployment, which alone could start it again.
    """
    flow_run, api = _this_run()
    ledger = workspace.ledger()
    if flow_run.deployment_id is None:
        counts = ledger.batches.counts(batch)
        raise FlowError(
            f"{batch} waits for {counts.left} of {counts.wanted} answers; let people answer with "
            "`cleanplate review serve`, then run this again"
        )
    remember_waiting(workspace, batch, WaitingRun(flow_run=flow_run.id, api=api))
    # Whoever completes the batch from here on finds this run; whoever did so before is seen by this count.
    counts = ledger.batches.counts(batch)
    if counts.left == 0:
        return PeopleDecision(decision="continue")
    form = PeopleDecision.with_initial_data(description=form_text(batch, counts, unused_count(workspace)))
    return suspend_flow_run(wait_for_input=form, timeout=None, key=pause_key(batch, extensions))


def _this_run() -> tuple[FlowRun, str]:
    """The flow run around this, and Prefect's API as it reaches it."""
    context, api = FlowRunContext.get(), PREFECT_API_URL.value()
    assert context is not None, "a round is a flow run"
    assert context.flow_run is not None, "Prefect knows it"
    assert api is not None, "by its API"
    return context.flow_run, api


def form_text(batch: str, counts: BatchCounts, unused: int) -> str:
    """What stands above the form, Markdown: the counts when the run suspended."""
    return (
        f"## {batch} is under review\n\n"
        f"**{counts.complete} of {counts.items}** candidates have all their answers; {counts.left} of "
        f"{counts.wanted} answers are missing. It goes on by itself when none is.\n\n"
        "| YES | NO | skipped | pool items unused |\n|---|---|---|---|\n"
        f"| {counts.yes} | {counts.no} | {counts.skipped} | {unused} |\n\n"
        "As it was when this run suspended; `cleanplate review status` counts anew."
    )


def review(
    workspace: Workspace,
    phase: Phase,
    reviewers: Reviewers,
    request: ReviewRequest,
    propose: Propose,
    beside: Sequence[ShardRef] = (),
    ask: Ask | None = None,
    decide: Decide = suspended,
) -> ReviewRequest:
    """Candidates are answered into the ledger: by the oracle at once, by people once they have.

    Args:
        workspace: Where.
        phase: Whose review it is.
        reviewers: People with their queue, or the oracle.
        request: The items and the shards of their candidates.
        propose: Makes candidates of more items, should the batch be extended.
        beside: Shards of candidates to ask about in the same batch that are not the phase's own.
        ask: Chooses the candidates to ask about. None: all.
        decide: Asks an engineer; suspends the run.

    Returns:
        What was asked in the end.
    """
    refs = [*request.refs, *beside]
    asked = None if ask is None else ask(refs)
    if reviewers.queue is None:
        for ref in tracked(refs, "reviews"):
            oracle_reviews(workspace, ref, reviewers.oracle, asked)
        return request
    open_batch(workspace, phase.batch, tuple(refs), reviewers.queue, asked)
    extensions = 0
    while True:
        draw = extension_draw(phase.draw, extensions)
        more = workspace.ledger().draws.drawn(draw)
        if not more:
            decision = ended(workspace, phase.batch) or decide(workspace, phase.batch, extensions)
            if decision.decision != "extend":
                settle(workspace, phase.batch, decision.decision)
                return replace(request, abandoned=decision.decision == "abandon")
            wanted = unused_count(workspace, at_most=decision.items)
            more = choose_items(workspace, draw, phase.purpose, wanted, reviewers.seed)
        refs = propose(more, len(request.refs))
        extend_batch(workspace, phase.batch, tuple(refs), None if ask is None else ask(refs))
        request = ReviewRequest([*request.items, *more], [*request.refs, *refs])
        extensions += 1


def extension_draw(draw: str, number: int) -> str:
    """The name of the items' draw by which a review is extended for the ``number``-th time, from 0."""
    return f"{draw} more {number}"


def ended(workspace: Workspace, batch: str) -> PeopleDecision | None:
    """How the batch ended, by an earlier decision or by its answers; None while it is open."""
    ending = batch_ending(workspace, batch)
    if ending is not None:
        return PeopleDecision(decision=ending)
    complete = workspace.ledger().batches.counts(batch).left == 0
    return PeopleDecision(decision="continue") if complete else None
