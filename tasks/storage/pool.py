"""List the pool items of some shards."""

from collections.abc import Sequence

from data_specs.keys import Split
from data_specs.shard import ShardRef
from tasks.storage.workspace import Workspace


def items_of(workspace: Workspace, refs: Sequence[ShardRef], split: Split | None = None) -> list[str]:
    """Keys of the samples of some shards that belong to a split (None = any), in order."""
    held = workspace.ledger().samples_in([ref.name for ref in refs], split)
    return [row.key for ref in refs for row in held[ref.name]]
