"""A metric: what is measured of a removal, in which unit, and which way is better."""

from dataclasses import dataclass
from typing import Literal

from data_specs.arrays import Mask, RgbImage

MetricName = Literal["psnr", "psnr_fg", "psnr_bg", "ssim", "lpips", "clip", "dino", "remove", "remove_plus"]
"""The columns of a results file, in the order in which tables show them."""


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """What a metric is, for tables and for people."""

    name: MetricName
    title: str
    """As papers print it."""
    unit: str
    """``dB``, or empty for a bare number."""
    better: Literal["higher", "lower"]
    digits: int
    """Decimals a table shows."""
    definition: str
    """One sentence, with the paper it comes from."""
    shown_times: int = 1
    """Factor of a table's numbers (papers print LPIPS × 100); files hold the number itself."""

    @property
    def heading(self) -> str:
        """Title, factor, unit and the better way: ``LPIPS ×100 ↓``."""
        factor = f"×{self.shown_times}" if self.shown_times != 1 else ""
        arrow = "↑" if self.better == "higher" else "↓"
        return " ".join(part for part in (self.title, factor, self.unit, arrow) if part)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RemovedImage:
    """One removal beside all that it is measured against; every image of one size."""

    source: RgbImage
    """H×W×3 uint8, with the object."""
    mask: Mask
    """H×W bool, M_o: what the remover was told to remove."""
    effect_region: Mask
    """H×W bool, M_fg: the object and its effects (papers.md, fact 11)."""
    ground_truth: RgbImage
    """H×W×3 uint8, the same shot without them."""
    removal: RgbImage
    """H×W×3 uint8, what the method made of source and mask."""
