"""A scene's image as the ledger knows it: how it looks, and the scene and split that it belongs to."""

from dataclasses import dataclass

from data_specs.keys import Split


@dataclass(frozen=True, slots=True)
class SceneImage:
    """One ground truth, or one image of the pool."""

    image: str
    """The key of its pixels."""
    scene: str
    split: Split
    lineage: str | None
    """The key of what its source says it is part of: a named scene, or a film's frames; None: unsaid."""
    hash: int
    """Perceptual, 64 bits, from -2⁶³: the databases' integers have a sign."""
    thumbnail: bytes
    """8×8×3 uint8, row by row."""
