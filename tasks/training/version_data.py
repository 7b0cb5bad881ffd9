"""What a training reads of a dataset version: its samples, their groups, or buckets of one size."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_specs.errors import FlowError
from data_specs.shard import ShardRef, Stage
from tasks.storage.dataset.versions import sample_columns
from tasks.storage.shards import ShardReader
from tasks.storage.shards.columns import as_bytes, coded
from tasks.storage.workspace import Workspace
from tasks.training.data import Groups, SizeBuckets, TripletSamples, size_buckets

_GROUPS: tuple[Stage, ...] = ("triplets", "grown", "composites")
"""The stages that hold triplets, one group each."""


class TrainingRows(NamedTuple):
    """The training samples of a version in the order of their groups, as arrays."""

    keys: NDArray[np.bytes_]
    """N keys."""
    shards: list[str]
    """The names of their shards, sorted."""
    shard_of: NDArray[np.int32]
    """N indices in ``shards``."""
    groups: list[range]
    """Index ranges of initial triplets, grown triplets and composites, where there are any."""


class VersionData(NamedTuple):
    """A version's training samples and their reader."""

    reader: ShardReader
    rows: TrainingRows
    refs: list[ShardRef]
    """The shards, as ``rows.shards`` names them."""


@contextmanager
def version_reader(workspace: Workspace, version: int) -> Iterator[VersionData]:
    """A dataset version's training samples and their reader. Only their shards are opened.

    Raises:
        FlowError: If there is no triplet to train on.
    """
    rows = training_rows(sample_columns(workspace, version, ("key", "split", "stage", "shard")))
    ledger = workspace.ledger()
    held = ledger.shards.all_named(rows.shards)
    refs = [held[name] for name in rows.shards]
    with ShardReader(workspace, refs) as reader:
        yield VersionData(reader, rows, refs)


def training_rows(samples: pa.Table) -> TrainingRows:
    """Training samples in order, and the groups that share every batch.

    The groups are initial triplets, grown triplets and composites. Every batch shares evenly among the groups
    that a version has. Early growth is then not lost among the initial triplets, nor the captured pairs among
    later growth or many composites.

    Args:
        samples: The columns of a version, from `sample_columns`.

    Raises:
        FlowError: If there is no triplet to train on.
    """
    split_of, splits = coded(samples["split"])
    stage_of, stages = coded(samples["stage"])
    shard_of, shards = coded(samples["shard"])
    train = split_of == _place_in(splits, "train")
    parts = [np.flatnonzero(train & (stage_of == _place_in(stages, stage))) for stage in _GROUPS]
    rows = np.concatenate(parts)
    if not len(rows):
        raise FlowError("the dataset version has no training sample; ingest a source first")
    ends = np.cumsum([len(part) for part in parts]).tolist()
    groups = [range(end - len(part), end) for part, end in zip(parts, ends, strict=True)]
    used, place = np.unique(shard_of[rows], return_inverse=True)
    names = shards.take(pa.array(used)).to_pylist()
    order = sorted(range(len(names)), key=names.__getitem__)
    return TrainingRows(
        keys=as_bytes(samples["key"].combine_chunks())[rows],
        shards=[names[number] for number in order],
        shard_of=np.argsort(order).astype(np.int32)[place],
        groups=[group for group in groups if len(group)],
    )


def _place_in(texts: pa.Array, text: str) -> int:
    """The place of a text among others, -1 if it is not there."""
    return pc.index(texts, pa.scalar(text)).as_py()


def training_triplets(data: VersionData) -> tuple[TripletSamples, Groups]:
    """A version's training triplets, and what batches are drawn from.

    If the triplets have several sizes, each batch has one size, and every epoch shows every sample once.
    With one size, every batch is shared among the groups of `training_rows`.

    Raises:
        ShardError: If the size of a sample cannot be read.
    """
    positions = data.reader.positions_of(data.rows.keys)
    buckets = size_buckets(data.reader, positions)
    samples = TripletSamples(data.reader, positions)
    return samples, data.rows.groups if len(buckets) == 1 else SizeBuckets(buckets)
