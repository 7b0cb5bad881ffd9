"""The order of samples of several sizes: each batch of one size, each sample once an epoch."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from models.training.samplers import ShuffledOrder


class _Place(NamedTuple):
    """Where a batch comes from."""

    bucket: int
    number: int
    """Of the bucket's own batches, from the start of training."""


class BucketBatches:
    """Batches that never mix sizes, the sizes in turn as often as they have samples.

    Iterating yields batch ``start`` to batch ``stop`` − 1 as ``MixedBatches`` does. Every bucket is gone
    through in a fresh shuffle before any of it comes again; what does not fill a batch at an epoch's end
    begins the bucket's next batch. Which batch comes when is known from its number alone.
    """

    def __init__(
        self,
        buckets: Sequence[Sequence[int]],
        batch_size: int,
        seed: int,
        start: int,
        stop: int,
        parts: Sequence[slice] = (slice(None),),
    ) -> None:
        """Order ``buckets``, each the samples of one size, none empty."""
        self._buckets = buckets
        self._orders = [ShuffledOrder(len(each), seed + 7 * number) for number, each in enumerate(buckets)]
        self._batch_size = batch_size
        self._seed = seed
        self._start, self._stop = start, stop
        self._parts = parts

    def __len__(self) -> int:
        """Parts of batches to come."""
        return (self._stop - self._start) * len(self._parts)

    def __iter__(self) -> Iterator[list[tuple[int, bool]]]:
        """Yield the samples and flips of each part."""
        size = self._batch_size
        for number, place in zip(range(self._start, self._stop), self._places(), strict=False):
            drawn = self._orders[place.bucket].take(place.number * size, size)
            generator = torch.Generator().manual_seed((self._seed * 1_000_003 + number) % 2**63)
            flips = (torch.rand(size, generator=generator) < 0.5).tolist()
            draws = [(self._buckets[place.bucket][i], flip) for i, flip in zip(drawn, flips, strict=True)]
            for part in self._parts:
                yield draws[part]

    def _places(self) -> Iterator[_Place]:
        """The places of batch ``start`` and all that follow, without end."""
        epoch = self._epoch_of(self._start)
        skipped = self._start - self._batches_before(epoch)
        while True:
            places = [
                _Place(bucket, number)
                for bucket in range(len(self._buckets))
                for number in range(self._full(bucket, epoch), self._full(bucket, epoch + 1))
            ]
            # A bucket's own batches keep their order, whatever others come between.
            generator = torch.Generator().manual_seed((self._seed * 1_000_003 + epoch) % 2**63)
            turns = torch.randperm(len(places), generator=generator).tolist()
            waiting = [iter([p for p in places if p.bucket == b]) for b in range(len(self._buckets))]
            ordered = [next(waiting[places[turn].bucket]) for turn in turns]
            yield from ordered[skipped:]
            epoch, skipped = epoch + 1, 0

    def _full(self, bucket: int, epochs: int) -> int:
        """Batches that a bucket fills in its first ``epochs`` epochs."""
        return epochs * len(self._buckets[bucket]) // self._batch_size

    def _batches_before(self, epoch: int) -> int:
        return sum(self._full(bucket, epoch) for bucket in range(len(self._buckets)))

    def _epoch_of(self, number: int) -> int:
        """The epoch whose batches batch ``number`` is among."""
        samples = sum(len(each) for each in self._buckets)
        epoch = number * self._batch_size // samples  # no batch comes sooner than its samples allow
        while self._batches_before(epoch + 1) <= number:
            epoch += 1
        return epoch
