"""Add shards to the current dataset version, once: what the version already has is not added again."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from data_specs.keys import derive_key
from data_specs.version import Selection
from tasks.storage.dataset.versions import create_version, load_samples, selection_of
from tasks.storage.workspace import Workspace


class Addition(NamedTuple):
    """What was new, and the version made with it."""

    added: int
    """Number of samples that the version had not."""
    version: int | None
    """None if nothing was new."""


def add_to_current(
    workspace: Workspace, selections: Sequence[Selection], note: Callable[[int], str], again: str
) -> Addition:
    """Make a version of the current one and of what is new in some shards, and make it the current one.

    Args:
        workspace: The workspace to write to.
        selections: The shards, with the chosen keys. None = all.
        note: What changed, in one sentence, by the number of new samples.
        again: The reason in the ledger if the same version was made before and rolled back since.
    """
    ledger = workspace.ledger()
    current = ledger.versions.current()
    number = None if current is None else current.number
    present = set() if number is None else {sample.key for sample in load_samples(workspace, number)}
    chosen = [] if number is None else selection_of(workspace, number)
    before = len(present)
    whole = ledger.shards.samples_in([shard.name for shard, wanted in selections if wanted is None])
    for shard, wanted in selections:
        keys = wanted if wanted is not None else [row.key for row in whole[shard.name]]
        keys = [key for key in keys if key not in present]
        if keys:
            chosen.append(Selection(shard, keys))
            present.update(keys)
    added = len(present) - before
    if not added:
        return Addition(0, None)
    version = create_version(workspace, chosen, number, note(added))
    now = ledger.versions.current()
    if now is None or now.number != version.number:
        # The old event, of the time before the rollback, would not count again.
        event = derive_key(again, version.number, ledger.versions.latest_event())
        ledger.versions.set_current(version.number, again, event=event)
    return Addition(added, version.number)
