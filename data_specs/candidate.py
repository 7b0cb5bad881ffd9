"""A candidate: a removal of a pool item that nobody has accepted yet."""

from dataclasses import dataclass

from data_specs.arrays import Mask, RgbImage
from data_specs.keys import Split


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidate:
    """One removal by one model from one mask variant (RORem, stages 2 and 3)."""

    key: str
    """Derived from item, model, variant and seed."""
    item: str
    """Key of the pool item. All candidates of the item share it."""
    scene: str
    split: Split
    class_name: str
    variant: str
    """How the mask was widened for the remover: ``tight``, ``dilated``, ``left``, ``right`` …"""
    model_hash: str
    """Hash of the remover's weights and settings."""
    source_hash: str
    """Hash of the source's pixels."""
    source: RgbImage
    """H×W×3 uint8."""
    mask: Mask
    """H×W bool, the item's TIGHT mask, whatever the variant was."""
    removal: RgbImage
    """H×W×3 uint8, the remover's result."""

    @property
    def proposal(self) -> str:
        """Names item and model. Candidates of the same proposal are compared with each other."""
        return f"{self.item} {self.model_hash}"
