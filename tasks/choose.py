"""Choose pool items for a phase; nothing used once is drawn again."""

import re
from collections.abc import Sequence

from prefect import task
from prefect.runtime import task_run

from data_specs.errors import FlowError
from data_specs.keys import Split, derive_key
from data_specs.shard import ShardRef
from tasks.workspace import Workspace

_RUN_KEY = re.compile(r"^[0-9a-f]{20} ")


def words_of(phase: str) -> str:
    """A phase as people know it, without the key of its run."""
    return _RUN_KEY.sub("", phase)


def _name() -> str:
    asked = task_run.get_parameters()
    return f"choose {asked['count']} items for {words_of(asked['phase'])}"


@task(task_run_name=_name)
def choose_items(workspace: Workspace, phase: str, count: int, seed: int) -> list[str]:
    """Keys of ``count`` pool items no phase has used, in an order that follows from the seed.

    Asked again for the same phase it gives the same items.

    Raises:
        FlowError: If the pool has too few left.
    """
    ledger = workspace.ledger()
    drawn = ledger.drawn(phase)
    if drawn:
        return drawn
    unused = unused_items(workspace)
    if len(unused) < count:
        raise FlowError(
            f"the pool has {len(unused)} unused items and {words_of(phase)} needs {count}; "
            "ingest more pictures"
        )
    chosen = sorted(unused, key=lambda key: derive_key("choice", seed, key))[:count]
    ledger.draw(phase, chosen)
    return chosen


def unused_items(workspace: Workspace) -> list[str]:
    """Keys of the pool's training items that no phase has drawn, in the shards' order."""
    return workspace.ledger().undrawn(items_of(workspace, pool_shards(workspace, "train")))


def pool_shards(workspace: Workspace, split: Split) -> list[ShardRef]:
    """The pool's shards of one split (a pool shard holds one split only)."""
    ledger = workspace.ledger()
    return [ref for ref in ledger.shards(stage="pool") if ledger.samples_of(ref.name)[0].split == split]


def items_of(workspace: Workspace, refs: Sequence[ShardRef]) -> list[str]:
    """Keys of all samples of some shards, in order."""
    ledger = workspace.ledger()
    return [row.key for ref in refs for row in ledger.samples_of(ref.name)]
