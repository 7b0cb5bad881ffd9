"""Choose pool items for a phase. An item is drawn only once."""

import re
from collections.abc import Sequence

from prefect import task
from prefect.runtime import task_run

from data_specs.errors import FlowError
from data_specs.keys import derive_key
from data_specs.shard import Purpose
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
    unused = unused_items(workspace)
    if len(unused) < count:
        raise FlowError(
            f"the pool has {len(unused)} unused items, and {words_of(phase)} needs {count}; ingest "
            "more images"
        )
    return _draw(workspace, phase, purpose, unused, count, seed)


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
    apart = ledger.draws.undrawn_items(apart=True)
    if len(apart) < count:
        raise FlowError(
            f"round {round} needs {count} fresh items to measure its discriminator, and the pool has "
            f"{len(apart)} of images that no phase has used; ingest more images"
        )
    return _draw(workspace, phase, "fresh", apart, count, seed)


def _draw(
    workspace: Workspace, phase: str, purpose: Purpose, items: Sequence[str], count: int, seed: int
) -> list[str]:
    """Draw at random. Items of many shards are then put in the pool's order.

    Each of the phase's works is a part of this order: it then needs a few of the pool's shards, not nearly
    all. Workers on other machines fetch only those.
    """
    ledger = workspace.ledger()
    chosen = sorted(items, key=lambda key: derive_key("choice", seed, key))[:count]
    if len({ref.name for ref in ledger.shards.holders_of(chosen, "pool").values()}) > _FEW_SHARDS:
        drawn = set(chosen)
        chosen = [key for key in items if key in drawn]
    ledger.draws.draw(phase, purpose, chosen)
    return chosen


def unused_items(workspace: Workspace) -> list[str]:
    """Keys of the pool's training items that no phase has drawn, in the shards' order."""
    return workspace.ledger().draws.undrawn_items()
