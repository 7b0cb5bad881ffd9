"""List the samples of some shards, and the pool items that candidates are of, without reading an image."""

from collections.abc import Sequence

from data_specs.keys import Split
from data_specs.shard import ShardRef
from tasks.storage.shards import ShardReader, item_in
from tasks.storage.workspace import Workspace


def items_of(workspace: Workspace, refs: Sequence[ShardRef], split: Split | None = None) -> list[str]:
    """Keys of the samples of some shards that belong to a split (None = any), in order."""
    held = workspace.ledger().samples_in([ref.name for ref in refs], split)
    return [row.key for ref in refs for row in held[ref.name]]


def candidate_items(workspace: Workspace, refs: Sequence[ShardRef]) -> dict[str, str]:
    """The pool item of each candidate of some shards, by the candidate's key, in the shards' order.

    Raises:
        ShardError: If a shard of an earlier version, whose items the ledger does not know, cannot be read.
    """
    held = workspace.ledger().samples_in([ref.name for ref in refs])
    rows = [row for ref in refs for row in held[ref.name]]
    older = [ref for ref in refs if any(row.item is None for row in held[ref.name])]
    read: dict[str, str] = {}
    if older:
        with ShardReader(workspace, older) as reader:
            read = {key: item_in(reader.member_by_key(key, "json")) for key in reader.keys}
    return {row.key: row.item or read[row.key] for row in rows}
