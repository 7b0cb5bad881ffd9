"""Blocks of time: frames near in time are one scene and share a split."""

from dataclasses import dataclass

from data_specs.keys import Split


@dataclass(frozen=True, slots=True)
class TimeBlocks:
    """A clip cut into equal blocks; the last is for testing, the one before it for validation.

    Frames just before either are left out, so that what walks there is not in both splits. A clip of
    fewer than three blocks is all training: a held-out part would show the training part's people.
    """

    count: int
    block_seconds: float
    gap_seconds: float

    def block_at(self, seconds: float) -> int:
        """The block's number, from 0."""
        return min(int(seconds / self.block_seconds), self.count - 1)

    def split_of(self, block: int) -> Split:
        """The split that all of a block belongs to."""
        if self.count < 3 or block < self.count - 2:
            return "train"
        return "validation" if block == self.count - 2 else "test"

    def in_gap(self, seconds: float) -> bool:
        """True for the moments that belong to no split."""
        block = self.block_at(seconds)
        if block + 1 == self.count or self.split_of(block) == self.split_of(block + 1):
            return False
        return seconds >= (block + 1) * self.block_seconds - self.gap_seconds


def time_blocks(clip_seconds: float, *, scene_seconds: float, gap_seconds: float) -> TimeBlocks:
    """Cut ``clip_seconds`` into blocks of at least ``scene_seconds`` (one block if it is shorter)."""
    count = max(1, int(clip_seconds / scene_seconds))
    return TimeBlocks(count, clip_seconds / count, gap_seconds)
