"""Define when a removal is a success, and the measures of one removal against the ground truth."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field


class QualityConfig(BaseModel):
    """When a removal is a success: nothing left of object or effect, nothing painted in, no seam.

    Lengths and areas scale with the image, so one config works at any size.
    """

    model_config = ConfigDict(frozen=True)

    blur_fraction: float = Field(
        default=1 / 64,
        gt=0,
        le=0.1,
        description="Sigma of the blur before comparing, as a fraction of the side. It hides texture.",
    )
    residual_levels: float = Field(
        default=24,
        gt=0,
        le=255,
        description="Grey levels by which a blurred pixel must differ to be a residual.",
    )
    residual_fraction: float = Field(
        default=0.003,
        gt=0,
        le=1,
        description="Largest connected residual near the object, share of the image.",
    )
    background_fraction: float = Field(
        default=0.01, gt=0, le=1, description="Largest connected residual elsewhere, share of the image."
    )
    effect_levels: float = Field(
        default=6,
        gt=0,
        le=255,
        description="Grey levels by which source and ground truth differ in an effect.",
    )


@dataclass(frozen=True, slots=True)
class Assessment:
    """The measures of one removal."""

    success: bool
    reason: str
    """``left-over``, ``effect left`` or ``seam`` on failure. Empty on success."""
    residual_px: int
    """Area of the largest connected residual near object and effect, in pixels."""
    background_px: int
    """The same elsewhere."""
    psnr_effect: float
    """dB over object and effect."""
    psnr_background: float
    """dB over the rest."""
