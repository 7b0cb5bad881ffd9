"""Find the hashes within a radius of a hash, among all of a ledger: exact, and quick for millions.

The radius is a quarter of the bits. An index by parts of the hash would read most of its lists for it, so
every hash is compared. A block of them stays in the processor's cache for all of its steps. The measurement
is in ``docs/experiments/ingest-scale.md``.
"""

from collections.abc import Sequence

import numpy as np

RADIUS = 16
"""Number of bits by which the hashes of near images may differ."""
_LOOKED_AT = 256
"""Number of images within the radius whose thumbnails are compared, nearest first."""
_BLOCK = 131_072
"""Hashes that are compared at a time: 1 MiB, and as much for the result."""


class NearHashes:
    """64-bit hashes that grow in number."""

    def __init__(self) -> None:
        self._room = np.empty(1024, np.uint64)
        self._count = 0

    def add(self, signed: Sequence[int]) -> None:
        """Append hashes, as the ledger stores them: from -2⁶³."""
        more = np.array(signed, np.int64).view(np.uint64)
        while self._count + len(more) > len(self._room):
            self._room = np.concatenate([self._room, np.empty_like(self._room)])
        self._room[self._count : self._count + len(more)] = more
        self._count += len(more)

    def near(self, hash: np.uint64) -> list[int]:
        """Positions of those within the radius, at most 256, nearest first. Ties are in order."""
        differing = np.empty(min(_BLOCK, self._count), np.uint64)
        bits = np.empty(len(differing), np.uint8)
        places, apart = [np.zeros(0, np.int64)], [np.zeros(0, np.uint8)]
        for start in range(0, self._count, _BLOCK):
            block = self._room[start : min(start + _BLOCK, self._count)]
            few = bits[: len(block)]
            np.bitwise_xor(block, hash, out=differing[: len(block)])
            np.bitwise_count(differing[: len(block)], out=few)
            inside = np.flatnonzero(few <= RADIUS)
            if len(inside):
                places.append(inside + start)
                apart.append(few[inside])
        order = np.argsort(np.concatenate(apart), kind="stable")[:_LOOKED_AT]
        return np.concatenate(places)[order].tolist()
