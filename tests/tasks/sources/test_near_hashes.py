"""Near hashes equal a comparison of every pair, bit by bit, in Python's own integers."""

import numpy as np
import pytest

from tasks.sources.near_hashes import RADIUS, NearHashes


def near_by_hand(hashes: list[int], wanted: int) -> list[int]:
    apart = [((one ^ wanted) & (2**64 - 1)).bit_count() for one in hashes]
    inside = [place for place, bits in enumerate(apart) if bits <= RADIUS]
    return sorted(inside, key=lambda place: apart[place])[:256]


@pytest.mark.parametrize("count", [0, 1, 1000, 131_072, 140_000])
def test_the_same_as_with_all(count: int) -> None:
    rng = np.random.default_rng(count)
    wanted = int(rng.integers(0, 2**63))
    hashes = rng.integers(-(2**63), 2**63 - 1, count).tolist()
    # A few hundred are near, at every distance about the radius, the last ones at the end of a block.
    for place in {*rng.integers(0, count, 300).tolist(), count - 1} if count else ():
        flips = rng.choice(64, int(rng.integers(0, RADIUS + 4)), replace=False)
        other = wanted ^ sum(1 << int(bit) for bit in flips)
        hashes[place] = other - 2**64 if other >= 2**63 else other
    index = NearHashes()
    for start in range(0, count, 7_000):  # They come in parts, as from the ledger.
        index.add(hashes[start : start + 7_000])
    assert index.near(np.uint64(wanted)) == near_by_hand(hashes, wanted)


def test_only_the_nearest_256_in_order_and_ties_by_place() -> None:
    index = NearHashes()
    index.add([1] * 200 + [0] * 200)
    assert index.near(np.uint64(0)) == [*range(200, 400), *range(56)]
