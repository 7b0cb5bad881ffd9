"""A scene's image in the ledger: its appearance, its scene and its split."""

from dataclasses import dataclass

from data_specs.keys import Split


@dataclass(frozen=True, slots=True)
class SceneImage:
    """One ground truth, or one image of the pool."""

    image: str
    """Key of its pixels."""
    scene: str
    split: Split
    lineage: str | None
    """Key of the group that its source names: a named scene, or the frames of a video. None: not named."""
    hash: int
    """Perceptual hash, 64 bits, from -2⁶³, because the databases' integers are signed."""
    thumbnail: bytes
    """8×8×3 uint8, row by row."""
