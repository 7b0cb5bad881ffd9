"""Choose pool items for a phase. An item is drawn only once."""

import re
from collections.abc import Iterable, Sequence
from functools import partial
from heapq import nsmallest

from prefect import task
from prefect.runtime import task_run

from data_specs.errors import FlowError
from data_specs.keys import derive_key
from data_specs.shard import Purpose
from tasks.storage.ledger.shards import place_of
from tasks.storage.workspace import Workspace

_FEW_SHARDS = 64
"""Pool shards that one work may well open. Draws from more of them are put in order."""
_RUN_KEY = re.compile(r"^[0-9a-f]{20} ")


def words_of(phase: str) -> str:
    """The name of a phase for people, without the key of its run."""
    return _RUN_KEY.sub("", phase)


def _name() -> str:
    asked = task_run.get_parameters()
    return f"choose {asked['count']} items for {words_of(asked['phase'])}"


@task(task_run_name=_name)
def choose_items(workspace: Workspace, phase: str, purpose: Purpose, count: int, seed: int) -> list[str]:
    """Keys of ``count`` pool items that no phase has used. The seed decides which.

    A second call for the same phase returns the same items.

    Raises:
        FlowError: If the pool has too few unused items.
    """
    ledger = workspace.ledger()
    drawn = ledger.draws.drawn(phase)
    if drawn:
        return drawn
    chosen = _chosen(workspace, ledger.draws.undrawn_parts(), count, seed)
    if len(chosen) < count:
        raise FlowError(
            f"the pool has {len(chosen)} unused items, and {words_of(phase)} needs {count}; ingest "
            "more images"
        )
    ledger.draws.draw(phase, purpose, chosen)
    return chosen


def fresh_items(workspace: Workspace, run: str, round: int, count: int, seed: int) -> list[str]:
    """Keys of the items that measure a round's discriminator. It trains neither on them nor on their scenes.

    If the truth of the validation items is known, these are validation items: nobody is asked about them.
    Otherwise people's answers are the measure. People are asked about training items only, so some training
    items are drawn, from scenes that no phase has used. No later phase gets those scenes.

    Raises:
        FlowError: If there are too few items.
    """
    phase = f"{run} fresh {round}"
    ledger = workspace.ledger()
    drawn = ledger.draws.drawn(phase)
    if drawn:
        return drawn
    items = ledger.draws.pool_items("validation", truth_known=True)[(round - 1) * count : round * count]
    if len(items) == count:
        return items
    chosen = _chosen(workspace, ledger.draws.undrawn_parts(apart=True), count, seed)
    if len(chosen) < count:
        raise FlowError(
            f"round {round} needs {count} fresh items to measure its discriminator, and the pool has "
            f"{len(chosen)} of images that no phase has used; ingest more images"
        )
    ledger.draws.draw(phase, "fresh", chosen)
    return chosen


def _chosen(workspace: Workspace, parts: Iterable[Sequence[str]], count: int, seed: int) -> list[str]:
    """The first ``count`` of the keys in the order that the seed decides. One part is in memory at a time.

    Items of many shards are then sorted by shard. Each of a phase's works is a part of this order: it needs
    a few of the pool's shards, not nearly all. Workers on other machines fetch only those.
    """
    chosen: list[str] = []
    for part in parts:
        chosen = nsmallest(count, {*chosen, *part}, key=partial(derive_key, "choice", seed))
    holders = workspace.ledger().shards.holders_of(chosen, "pool")
    if len({ref.name for ref in holders.values()}) > _FEW_SHARDS:
        chosen.sort(key=lambda key: place_of(holders[key]))
    return chosen


def unused_items(workspace: Workspace) -> list[str]:
    """Keys of the pool's training items that no phase has drawn, in the shards' order."""
    return workspace.ledger().draws.undrawn_items()


def unused_count(workspace: Workspace, at_most: int | None = None) -> int:
    """The number of items that `unused_items` gives, counted up to ``at_most`` (None = all)."""
    return workspace.ledger().draws.undrawn_count(at_most)
