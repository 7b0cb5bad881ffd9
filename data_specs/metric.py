"""A metric: what is measured of a removal, in which unit, and which direction is better."""

from dataclasses import dataclass
from typing import Literal

from data_specs.arrays import Mask, RgbImage

MetricName = Literal["psnr", "psnr_fg", "psnr_bg", "ssim", "lpips", "clip", "dino", "remove", "remove_plus"]
"""The columns of a results file, in the order of tables."""


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """Properties of a metric, for tables and for readers."""

    name: MetricName
    title: str
    """As the papers print it."""
    unit: str
    """``dB``, or empty for a number without unit."""
    better: Literal["higher", "lower"]
    digits: int
    """Number of decimals in a table."""
    definition: str
    """One sentence, with the paper of origin."""
    shown_times: int = 1
    """Factor of a table's numbers (papers print LPIPS × 100). Files hold the number itself."""

    @property
    def heading(self) -> str:
        """Title, factor, unit and the better direction: ``LPIPS ×100 ↓``."""
        factor = f"×{self.shown_times}" if self.shown_times != 1 else ""
        arrow = "↑" if self.better == "higher" else "↓"
        return " ".join(part for part in (self.title, factor, self.unit, arrow) if part)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RemovedImage:
    """One removal with everything that it is measured against. All images have one size."""

    source: RgbImage
    """H×W×3 uint8, with the object."""
    mask: Mask
    """H×W bool, M_o: the mask that the remover got."""
    effect_region: Mask
    """H×W bool, M_fg: the object and its effects (papers.md, fact 11)."""
    ground_truth: RgbImage
    """H×W×3 uint8, the same view without them."""
    removal: RgbImage
    """H×W×3 uint8, the method's result from source and mask."""
