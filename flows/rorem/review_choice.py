"""Which pool items a human phase asks about: all that it draws, or the half that teaches most."""

from collections.abc import Sequence
from functools import partial

from data_specs.shard import ShardRef
from flows.rorem.human_review import Ask
from flows.rorem.phases import RoundRun, scores_of
from tasks.rorem.grow import candidates_by_item
from tasks.rorem.review_choice import ReviewChoice, choose_for_review, embeddings_of
from tasks.rorem.sample_pool import choose_items
from tasks.rorem.train_discriminator import DiscriminatorRef, newest_discriminator
from tasks.storage.workspace import Workspace

_CONSIDERED = 2
"""How many times as many items are considered as are asked about."""
_RANDOM_FRACTION = 1 / 3
"""What of the chosen items is random."""


def draw_items(run: RoundRun) -> list[str]:
    """The pool items of the human phase: those that it asks about, or twice as many to choose from.

    Raises:
        FlowError: If the pool has too few unused items.
    """
    config, phase = run.config, run.phase("human")
    times = 1 if _discriminator(run) is None else _CONSIDERED
    return choose_items(run.workspace, phase.draw, "human", times * config.human_items, config.seed)


def choice_of(run: RoundRun, refs: Sequence[ShardRef]) -> Ask | None:
    """What of the drawn items' candidates people are asked about. None: all.

    The choice is recorded before anybody is asked. A second call gives the recorded one, whatever
    discriminator is the newest then.

    Args:
        run: The round.
        refs: The shards of the candidates of all drawn items.
    """
    discriminator = _discriminator(run)
    ledger, phase = run.workspace.ledger(), run.phase("human")
    if discriminator is not None and _recorded(run) is None:
        chosen = _chosen(run, refs, discriminator)
        ledger.results.record("review_choice", phase.name, chosen, run=run.key)
    if _recorded(run) is None:
        return None
    return partial(_asked, run.workspace, frozenset(unasked_items(run)))


def unasked_items(run: RoundRun) -> list[str]:
    """The items that the round's human phase considered only, in the order of drawing.

    No other phase draws them. The round's automated phase takes them first.
    """
    chosen = _recorded(run)
    if chosen is None:
        return []
    asked = set(chosen.items)
    return [item for item in run.workspace.ledger().draws.drawn(run.phase("human").draw) if item not in asked]


def automated_items(run: RoundRun) -> list[str]:
    """The pool items of the automated phase: first what the human phase did not ask about, the rest drawn.

    Raises:
        FlowError: If the pool has too few unused items.
    """
    config, phase = run.config, run.phase("automation")
    unasked = unasked_items(run)[: config.automation_items]
    missing = config.automation_items - len(unasked)
    if not missing:
        return unasked
    return [*unasked, *choose_items(run.workspace, phase.draw, "automation", missing, config.seed)]


def _discriminator(run: RoundRun) -> DiscriminatorRef | None:
    """Scores the items to choose from. None where nothing is chosen; controls never choose."""
    config = run.config
    if config.review_choice == "random" or config.acceptance != "discriminator" or config.round == 1:
        return None
    return newest_discriminator(run.workspace)


def _recorded(run: RoundRun) -> ReviewChoice | None:
    results = run.workspace.ledger().results
    return results.get("review_choice", run.phase("human").name, ReviewChoice, run=run.key)


def _chosen(run: RoundRun, refs: Sequence[ShardRef], discriminator: DiscriminatorRef) -> ReviewChoice:
    config, workspace = run.config, run.workspace
    by_candidate = scores_of(workspace, run.phase("human"), refs, discriminator, config.workers)
    candidates = candidates_by_item(workspace, refs)
    scores = {item: [by_candidate[key] for key in keys] for item, keys in candidates.items()}
    embeddings = embeddings_of(workspace, refs)
    return choose_for_review(embeddings, scores, config.human_items, _RANDOM_FRACTION, config.seed)


def _asked(workspace: Workspace, unasked: frozenset[str], refs: Sequence[ShardRef]) -> frozenset[str]:
    """The candidates to ask about. Items by which the review is extended were not considered: all theirs."""
    candidates = candidates_by_item(workspace, refs)
    return frozenset(key for item, keys in candidates.items() if item not in unasked for key in keys)
