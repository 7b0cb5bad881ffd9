"""Turn composites into pool items. Their truth is kept apart, like that of synthetic samples."""

from functools import partial

from data_specs.composite import Composite
from data_specs.pool_item import PoolItem
from data_specs.shard import ShardRef
from data_specs.triplet import Triplet
from data_specs.work import ShardWork, beside
from tasks.execution.shard_task import shard_task
from tasks.storage.shards import ShardReader, decode_composite, encode_pool_item, encode_triplet, write_shard
from tasks.storage.workspace import Workspace


class PoolCompositesWork(ShardWork):
    """The input of one shard of pool items."""

    composites: ShardRef


def pool_composites(workspace: Workspace, work: PoolCompositesWork) -> ShardRef:
    """Write the truth of the composites, then their pool items.

    Returns:
        The shard of pool items.
    """
    with ShardReader(workspace, [work.composites]) as reader:
        made = [decode_composite(reader[place]) for place in range(len(reader))]
    write = partial(write_shard, workspace, round=work.round, index=work.index)
    truths = (encode_triplet(as_triplet(composite), work.image_format) for composite in made)
    write(stage="truth", input_digest=beside(work.digest, "truth"), samples=truths)
    items = (encode_pool_item(as_pool_item(composite), work.image_format) for composite in made)
    return write(stage="pool", input_digest=work.digest, samples=items)


def as_triplet(composite: Composite) -> Triplet:
    """The composite as a training or test sample."""
    return Triplet(
        key=composite.key,
        scene=composite.scene,
        split=composite.split,
        origin=composite.origin,
        source=composite.source,
        mask=composite.mask,
        ground_truth=composite.ground_truth,
    )


def as_pool_item(composite: Composite) -> PoolItem:
    """The composite as an unlabelled image, without its ground truth."""
    return PoolItem(
        key=composite.key,
        scene=composite.scene,
        split=composite.split,
        origin=composite.origin,
        class_name=composite.objects[composite.removed].class_name,
        source=composite.source,
        mask=composite.mask,
    )


pool_composites_shard = shard_task(pool_composites, "pool composites", "{work.index}")
