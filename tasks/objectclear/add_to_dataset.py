"""Add composites to the dataset version. None may show a scene that the version has in another split."""

import json
from collections.abc import Iterator, Sequence

from data_specs.errors import ShardError
from data_specs.keys import Split
from data_specs.reject import Reject, RejectReason
from data_specs.shard import SampleRow, ShardRef
from data_specs.version import Selection
from tasks.storage.dataset.additions import Addition, add_to_current
from tasks.storage.dataset.versions import load_samples
from tasks.storage.shards import ShardReader
from tasks.storage.workspace import Workspace


def add_composites(workspace: Workspace, shards: Sequence[ShardRef]) -> tuple[Addition, int]:
    """Make a version of the current one and of the composites that it has not. Asked again, it does nothing.

    A composite shows several scenes, of its plate and of its cut-outs. If the version has one of them in
    another split, the composite is left out and recorded as a reject.

    Returns:
        What was added, and the number of composites that were left out.

    Raises:
        ShardError: If a shard is missing or damaged.
    """
    ledger = workspace.ledger()
    current = ledger.versions.current()
    splits: dict[str, Split] = {}
    if current is not None:
        splits = {sample.scene: sample.split for sample in load_samples(workspace, current.number)}
    selections: list[Selection] = []
    rejects: list[Reject] = []
    held = ledger.shards.samples_in([shard.name for shard in shards])
    for shard in shards:
        rows = held[shard.name]
        refused = {reject.name: reject for reject in _refused(workspace, shard, rows, splits)}
        rejects += refused.values()
        selections.append(Selection(shard, [row.key for row in rows if row.key not in refused]))
    ledger.rejects.record(rejects)
    addition = add_to_current(
        workspace, selections, lambda added: f"added {added} composites", "composites added again"
    )
    return addition, len(rejects)


def _refused(
    workspace: Workspace, shard: ShardRef, rows: Sequence[SampleRow], splits: dict[str, Split]
) -> Iterator[Reject]:
    with ShardReader(workspace, [shard]) as reader:
        for row in rows:
            scenes = _scenes_in(row.key, reader.member_by_key(row.key, "json"))
            other = next((scene for scene in scenes if splits.get(scene, row.split) != row.split), None)
            if other is not None:
                detail = f"it is {row.split}, and the dataset has its scene {other} in {splits[other]}"
                yield Reject(source="dataset", name=row.key, reason=RejectReason.TWO_SPLITS, detail=detail)


def _scenes_in(key: str, member: bytes) -> list[str]:
    try:
        return json.loads(member)["scenes"]
    except (KeyError, ValueError, TypeError) as error:
        raise ShardError(f"sample {key} cannot be decoded: {error}") from error
