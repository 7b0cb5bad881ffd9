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
        return [
            self._remove_one(source, mask, seed)
            for source, mask, seed in zip(sources, masks, seeds, strict=True)
        ]

    def _remove_one(self, source: RgbImage, mask: Mask, seed: int) -> RgbImage:
        window = choose_window(mask, self.short_side_px)
        region = widen(show_mask(mask, window), "dilated")
        generated = self.remover.remove([show_image(source, window)], [region], [seed])[0]
        return fused_at_full_size(source, mask, window, generated, region)


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
