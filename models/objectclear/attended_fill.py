"""Fill an object and its shadow without painting: ObjectClear says where, another remover fills."""

from collections.abc import Sequence
from dataclasses import dataclass

from data_specs.arrays import Alpha, Mask, RgbImage
from data_specs.keys import derive_key
from models.objectclear.remover import ObjectClearRemover
from models.protocols import RemovalModel


@dataclass(frozen=True, slots=True)
class AttendedFill:
    """A RemovalModel and an AttentiveRemover: a fill of the mask, grown by ObjectClear's attention.

    The tiny network paints photographs badly, but it sees where a shadow lies.
    """

    attentive: ObjectClearRemover
    fill: RemovalModel
    threshold: float = 0.85
    """Attention above this joins the mask. Chosen on photographs (docs/experiments/photographs.md); fact 19's
    0.5 takes in neighbours."""

    @property
    def model_hash(self) -> str:
        """Names the network, the fill and the threshold."""
        return derive_key("attended fill", self.attentive.model_hash, self.fill.model_hash, self.threshold)

    def remove(
        self, sources: Sequence[RgbImage], masks: Sequence[Mask], seeds: Sequence[int]
    ) -> list[RgbImage]:
        """See ``RemovalModel.remove``. The images may differ in size."""
        return [self.remove_attending(*part)[0] for part in zip(sources, masks, seeds, strict=True)]

    def remove_attending(self, source: RgbImage, mask: Mask, seed: int) -> tuple[RgbImage, Alpha]:
        """See ``AttentiveRemover.remove_attending``. Only the grown mask changes."""
        _, attention = self.attentive.remove_attending(source, mask, seed)
        return self.fill.remove([source], [mask | (attention > self.threshold)], [seed])[0], attention
