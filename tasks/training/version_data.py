"""What a training reads of a dataset version: its samples, their groups, or buckets of one size."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from data_specs.errors import FlowError
from data_specs.shard import Stage
from data_specs.version import VersionSample
from tasks.storage.dataset.versions import load_samples
from tasks.storage.shards import ShardReader
from tasks.storage.workspace import Workspace
from tasks.training.data import Groups, SizeBuckets, TripletSamples, size_buckets

_GROUPS: tuple[Stage, ...] = ("triplets", "grown", "composites")
"""The stages that hold triplets, one group each."""


@contextmanager
def version_reader(
    workspace: Workspace, version: int
) -> Iterator[tuple[ShardReader, Sequence[VersionSample]]]:
    """A dataset version's samples and their reader."""
    samples = load_samples(workspace, version)
    refs = workspace.ledger().shards.all_named(sorted({s.shard for s in samples}))
    with ShardReader(workspace, list(refs.values())) as reader:
        yield reader, samples


def training_groups(samples: Sequence[VersionSample]) -> tuple[list[str], list[range]]:
    """Training keys in order, and the groups that share every batch.

    The groups are initial triplets, grown triplets and composites. Every batch shares evenly among the groups
    that a version has. Early growth is then not lost among the initial triplets, nor the captured pairs among
    later growth or many composites.

    Raises:
        FlowError: If there is no triplet to train on.
    """
    keys: list[str] = []
    groups: list[range] = []
    for stage in _GROUPS:
        start = len(keys)
        keys += [s.key for s in samples if s.split == "train" and s.stage == stage]
        if len(keys) > start:
            groups.append(range(start, len(keys)))
    if not groups:
        raise FlowError("the dataset version has no training sample; ingest a source first")
    return keys, groups


def training_triplets(
    reader: ShardReader, samples: Sequence[VersionSample]
) -> tuple[TripletSamples, list[str], Groups]:
    """A version's training triplets, their keys, and what batches are drawn from.

    If the triplets have several sizes, each batch has one size, and every epoch shows every sample once.
    With one size, every batch is shared among the groups of `training_groups`.

    Raises:
        FlowError: If there are no triplets.
        ShardError: If the size of a sample cannot be read.
    """
    keys, groups = training_groups(samples)
    buckets = size_buckets(reader, keys)
    return TripletSamples(reader, keys), keys, groups if len(buckets) == 1 else SizeBuckets(buckets)
