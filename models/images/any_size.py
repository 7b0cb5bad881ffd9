"""Run a remover of one size on images of any size: window, removal, fusion, and back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from data_specs.arrays import Mask, RgbImage
from data_specs.keys import derive_key
from models.images.fusion import FusionForm, FusionLengths, blend_weight, fused_change
from models.images.mask_variants import widen
from models.images.window import WorkWindow, bring_back, choose_window, show_image, show_mask
from models.protocols import RemovalModel

_SHORT_SIDE_PX = 512
_WINDOWS_AT_ONCE = 64
"""Windows in memory. The inner model decides how many of them go into one forward pass."""


@dataclass(frozen=True, slots=True)
class AnySizeRemover:
    """A RemovalModel that gives another one the object's neighbourhood, at that model's size.

    The inner model gets the dilated mask, as in RORem (papers.md, fact 8). Its removal is used inside the
    dilated mask, by the rule of ``models/images/fusion.py``, with the mask in place of an attention map.
    """

    remover: RemovalModel
    short_side_px: int
    """The short side of the inner model's training images."""

    @property
    def model_hash(self) -> str:
        """Names the inner remover and its size."""
        return derive_key("any size", self.remover.model_hash, self.short_side_px)

    def remove(
        self, sources: Sequence[RgbImage], masks: Sequence[Mask], seeds: Sequence[int]
    ) -> list[RgbImage]:
        """See ``RemovalModel.remove``. The images may differ in size."""
        removals: list[RgbImage] = []
        for start in range(0, len(sources), _WINDOWS_AT_ONCE):
            part = slice(start, start + _WINDOWS_AT_ONCE)
            removals += self._remove_part(sources[part], masks[part], seeds[part])
        return removals

    def _remove_part(
        self, sources: Sequence[RgbImage], masks: Sequence[Mask], seeds: Sequence[int]
    ) -> list[RgbImage]:
        """The inner model gets all windows at once, and makes batches of those of one size."""
        windows = [choose_window(mask, self.short_side_px) for mask in masks]
        regions = [
            widen(show_mask(mask, window), "dilated") for mask, window in zip(masks, windows, strict=True)
        ]
        shown = [show_image(source, window) for source, window in zip(sources, windows, strict=True)]
        generated = self.remover.remove(shown, regions, seeds)
        return [
            fused_at_full_size(*part)
            for part in zip(sources, masks, windows, generated, regions, strict=True)
        ]


def short_side_of(unet: Any, vae: Any) -> int:
    """The short side at which a network works: 512 px (fact 20), or its own size if that is smaller.

    Args:
        unet: A diffusers U-Net. Its ``sample_size`` is in latents.
        vae: Its codec. It halves the sides ``len(block_out_channels) - 1`` times.
    """
    own = unet.config["sample_size"] * 2 ** (len(vae.config["block_out_channels"]) - 1)
    return min(_SHORT_SIDE_PX, own)


def fused_at_full_size(
    source: RgbImage,
    mask: Mask,
    window: WorkWindow,
    generated: RgbImage,
    region: Mask,
    form: FusionForm = "banded",
) -> RgbImage:
    """Fuse a removal at work size with the original image.

    Args:
        source: H×W×3 uint8, the whole image.
        mask: H×W bool, the object.
        window: The part that the network saw.
        generated: h×w×3 uint8, at work size.
        region: h×w bool, where the generated image is used.
        form: See ``models.images.fusion.FusionForm``. ``paper`` reaches to the window's border.

    Returns:
        H×W×3 uint8.
    """
    lengths = FusionLengths.at(min(window.work_height, window.work_width))
    shown = show_image(source, window)
    change = fused_change(shown, generated, blend_weight(region, lengths), lengths, form)
    return bring_back(source, mask, change, window)
