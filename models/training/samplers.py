"""The order in which samples are drawn: a true shuffle each epoch, known from the step alone."""

from collections.abc import Iterator, Sequence

import torch


class ShuffledOrder:
    """An endless sequence of epochs over ``count`` samples, each a fresh permutation.

    Position p is the p-th draw since the start; any stretch can be asked for without the ones before,
    so a resumed training goes on exactly where it stood.
    """

    def __init__(self, count: int, seed: int) -> None:
        """Order ``count`` ≥ 1 samples from ``seed``."""
        if count < 1:
            raise ValueError("there is nothing to shuffle")
        self.count = count
        self.seed = seed
        self._epoch = -1
        self._permutation: list[int] = []

    def take(self, start: int, length: int) -> list[int]:
        """Sample indices at positions start … start + length − 1."""
        return [self._at(position) for position in range(start, start + length)]

    def _at(self, position: int) -> int:
        epoch, place = divmod(position, self.count)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)
            self._permutation = torch.randperm(self.count, generator=generator).tolist()
            self._epoch = epoch
        return self._permutation[place]


class MixedBatches:
    """Batches drawn from several groups in fixed shares, e.g. half initial, half grown triplets.

    Iterating yields batch ``start`` to batch ``stop`` − 1, each a list of (sample index, whether to flip
    it), RORem's random flip: what torch's DataLoader takes as ``batch_sampler``. Of each batch it yields
    the parts asked for, one after the other; the draws are those of the whole batch.
    """

    def __init__(
        self,
        groups: list[range],
        batch_size: int,
        seed: int,
        start: int,
        stop: int,
        parts: Sequence[slice] = (slice(None),),
    ) -> None:
        """Split every batch over ``groups`` (non-empty index ranges) as evenly as may be."""
        self._orders = [ShuffledOrder(len(group), seed + 7 * number) for number, group in enumerate(groups)]
        self._groups = groups
        base, extra = divmod(batch_size, len(groups))
        self._shares = [base + (number < extra) for number in range(len(groups))]
        self._start, self._stop = start, stop
        self._seed = seed
        self._parts = parts

    def __len__(self) -> int:
        """Parts of batches to come."""
        return (self._stop - self._start) * len(self._parts)

    def __iter__(self) -> Iterator[list[tuple[int, bool]]]:
        """Yield the samples and flips of each part."""
        for number in range(self._start, self._stop):
            batch: list[int] = []
            for group, order, share in zip(self._groups, self._orders, self._shares, strict=True):
                batch += [group[i] for i in order.take(number * share, share)]
            generator = torch.Generator().manual_seed((self._seed * 1_000_003 + number) % 2**63)
            flips = torch.rand(len(batch), generator=generator) < 0.5
            draws = list(zip(batch, flips.tolist(), strict=True))
            for part in self._parts:
                yield draws[part]
