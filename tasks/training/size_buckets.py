"""Size buckets: which training samples are of one size, told from their masks' first bytes."""

import struct
from collections.abc import Sequence

from data_specs.errors import ShardError
from tasks.storage.shards import ShardReader

_PNG = b"\x89PNG\r\n\x1a\n"


def size_buckets(reader: ShardReader, keys: Sequence[str]) -> list[list[int]]:
    """Positions in ``keys`` of the samples of each size, smallest size first.

    Only masks are read, a few kilobytes each, and nothing is decoded.

    Raises:
        ShardError: If a sample has no mask, or one that is no PNG.
    """
    buckets: dict[tuple[int, int], list[int]] = {}
    for position, key in enumerate(keys):
        buckets.setdefault(_png_size(key, reader.member_by_key(key, "mask.png")), []).append(position)
    return [buckets[size] for size in sorted(buckets)]


def _png_size(key: str, data: bytes) -> tuple[int, int]:
    """(height, width) in pixels, which stand in every PNG's first chunk."""
    if not data.startswith(_PNG) or len(data) < 24:
        raise ShardError(f"the mask of sample {key} is no PNG; run `cleanplate dataset verify`")
    width, height = struct.unpack(">II", data[16:24])
    return height, width
