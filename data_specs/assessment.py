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
        description="Sigma of the blur before the comparison, as a fraction of the image's side. The blur "
        "hides texture.",
    )
    residual_levels: float = Field(
        default=24,
        gt=0,
        le=255,
        description="Minimum difference of a blurred pixel that counts as residual, in grey levels.",
    )
    residual_fraction: float = Field(
        default=0.003,
        gt=0,
        le=1,
        description="Maximum area of a connected residual near the object, as a fraction of the image.",
    )
    background_fraction: float = Field(
        default=0.01,
        gt=0,
        le=1,
        description="Maximum area of a connected residual elsewhere, as a fraction of the image.",
    )
    effect_levels: float = Field(
        default=6,
        gt=0,
        le=255,
        description="Minimum difference of source and ground truth that counts as an effect, in grey levels.",
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
