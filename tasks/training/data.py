"""Read training data from shards: samples by offset, and batches whose order follows from the step alone."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from data_specs.candidate import Candidate
from data_specs.errors import ModelError, ShardError
from data_specs.triplet import EffectTriplet, Triplet
from models.images.tensors import images_to_tensor, masks_to_tensor
from models.training.loop import BatchesFrom
from models.training.losses.discriminator import ReviewBatch
from models.training.losses.remover import TripletBatch
from models.training.samplers import BucketBatches, MixedBatches
from tasks.storage.shards import ShardReader, decode_candidate, decode_triplet

Record = TypeVar("Record", Triplet, Candidate)


class TripletSamples(Dataset[Triplet]):
    """Chosen samples of some shards as triplets, map-style. A draw may flip them."""

    def __init__(self, reader: ShardReader, positions: Sequence[int] | NDArray[np.int64]) -> None:
        """Return the reader's samples at ``positions`` in this order."""
        self._reader = reader
        self._positions = positions

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, draw: tuple[int, bool]) -> Triplet:
        place, flip = draw
        triplet = decode_triplet(self._reader[int(self._positions[place])])
        if not flip:
            return triplet
        effect = ("foreground",) if isinstance(triplet, EffectTriplet) else ()
        return mirrored(triplet, "source", "mask", "ground_truth", *effect)


class ReviewSamples(Dataset[tuple[Candidate, bool]]):
    """Reviewed candidates with their answers, map-style. A draw may flip them."""

    def __init__(self, reader: ShardReader, answers: Sequence[tuple[str, bool]]) -> None:
        """Return the pairs (key, is it YES) in this order."""
        self._reader = reader
        self._answers = list(answers)

    def __len__(self) -> int:
        return len(self._answers)

    def __getitem__(self, draw: tuple[int, bool]) -> tuple[Candidate, bool]:
        position, flip = draw
        key, yes = self._answers[position]
        candidate = decode_candidate(self._reader.by_key(key))
        return (mirrored(candidate, "source", "mask", "removal") if flip else candidate), yes


class SizeBuckets(NamedTuple):
    """Positions of the samples of each size. Every batch has one size."""

    positions: Sequence[Sequence[int] | NDArray[np.int64]]


Groups = list[range] | SizeBuckets
"""What batches are drawn from: evenly from every group of positions, or each from one bucket."""


def triplet_batches(
    samples: TripletSamples, groups: Groups, batch_size: int, seed: int, workers: int = 0
) -> BatchesFrom:
    """``TripletBatch``es for ``train``."""
    return batches_of(samples, groups, batch_size, seed, workers, collate_triplets)


def drawn_triplets(
    samples: TripletSamples, groups: Groups, batch_size: int, seed: int, workers: int = 0
) -> BatchesFrom:
    """The same draws as ``triplet_batches``, not yet as tensors, for samples that are augmented first."""
    return batches_of(samples, groups, batch_size, seed, workers, list)


def review_batches(
    samples: ReviewSamples, groups: Groups, batch_size: int, seed: int, workers: int = 0
) -> BatchesFrom:
    """``ReviewBatch``es for ``train``."""
    return batches_of(samples, groups, batch_size, seed, workers, _collate_reviews)


def batches_of(
    samples: Dataset[Any],
    groups: Groups,
    batch_size: int,
    seed: int,
    workers: int,
    collate: Callable[[list[Any]], Any],
) -> BatchesFrom:
    """Batches for ``train``: the result of ``collate`` on the drawn samples."""

    def batches_from(start: int, stop: int, parts: Sequence[slice]) -> Iterable[Any]:
        if isinstance(groups, SizeBuckets):
            order = BucketBatches(groups.positions, batch_size, seed, start, stop, parts)
        else:
            order = MixedBatches(groups, batch_size, seed, start, stop, parts)
        loader = DataLoader(samples, batch_sampler=cast(Any, order), collate_fn=collate, num_workers=workers)
        return _plainly(loader)

    return batches_from


def _plainly(loader: Iterable[Any]) -> Iterator[Any]:
    """Report a worker's error as one sentence. torch puts the worker's whole traceback before it."""
    try:
        yield from loader
    except (ShardError, ModelError) as error:
        raise type(error)(str(error).rstrip().rpartition(f"{type(error).__name__}: ")[2]) from error


def collate_triplets(triplets: list[Triplet]) -> TripletBatch:
    """Triplets of one size as tensors."""
    return TripletBatch(
        source=images_to_tensor([t.source for t in triplets]),
        mask=masks_to_tensor([t.mask for t in triplets]),
        ground_truth=images_to_tensor([t.ground_truth for t in triplets]),
    )


def _collate_reviews(reviewed: list[tuple[Candidate, bool]]) -> ReviewBatch:
    return ReviewBatch(
        source=images_to_tensor([c.source for c, _ in reviewed]),
        mask=masks_to_tensor([c.mask for c, _ in reviewed]),
        removal=images_to_tensor([c.removal for c, _ in reviewed]),
        label=torch.tensor([float(yes) for _, yes in reviewed]),
    )


def mirrored(record: Record, *names: str) -> Record:
    """The record with some of its arrays reversed left to right."""
    return replace(record, **{name: np.ascontiguousarray(getattr(record, name)[:, ::-1]) for name in names})


# Size buckets: the training samples of each size.


def size_buckets(
    reader: ShardReader, positions: Sequence[int] | NDArray[np.int64]
) -> list[NDArray[np.int64]]:
    """Places in ``positions`` of the samples of each size, smallest size first.

    The shards' indexes have the sizes. Of samples in older shards, the masks are read, a few kilobytes each.
    Nothing is decoded.

    Raises:
        ShardError: If a sample of an older shard has no mask, or one that is no PNG.
    """
    sizes = reader.sizes_at(np.asarray(positions, np.int64))
    # One number for a size: numpy compares it faster than a row of two.
    size = sizes[:, 0].astype(np.int64) << 32 | sizes[:, 1]
    distinct, bucket = np.unique(size, return_inverse=True)
    return [np.flatnonzero(bucket == number) for number in range(len(distinct))]
