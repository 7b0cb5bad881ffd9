"""Match the tone: a layer takes on the plate's colour and grain."""

from dataclasses import replace
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from data_specs.tone import Tone
from tasks.objectclear.layer import Layer

_GRAIN_SIDE = 1024


class ToneConfig(BaseModel):
    """How far a cut-out is brought to its plate. The paper publishes no matching; this one is ours."""

    model_config = ConfigDict(frozen=True)

    colour_strength: float = Field(
        default=0.4,
        ge=0,
        le=1,
        description="Part of the difference of the mean colours that is made up; a mean tells of the light "
        "and of what is shown.",
    )
    colour_limit: float = Field(default=1.25, ge=1, le=3, description="Greatest factor of a channel.")
    grain: bool = Field(default=True, description="Whether the plate's grain is laid on the object.")


def match_tone(
    layer: Layer, scale: float, captured: Tone, plate: Tone, config: ToneConfig, rng: np.random.Generator
) -> Layer:
    """The layer in the plate's tone; its effect needs none, since it is the plate's own light.

    Args:
        layer: As `scaled_layer` gave it.
        scale: Its scale, which has made the capture's own grain finer.
        captured: Tone of the picture it was cut from.
        plate: Tone of the plate.
        config: How far to go.
        rng: Chooses which part of the grain it gets.
    """
    matte = cv2.merge([layer.matte] * 3)
    levels = np.arange(256)[:, None, None] * np.array(colour_gains(captured, plate, config))
    colour = cv2.min(cv2.LUT(layer.colour, np.rint(np.minimum(levels, 255)).astype(np.uint8)), matte)
    missing = plate.grain**2 - (captured.grain * min(scale, 1)) ** 2
    if config.grain and missing > 0:
        grain = grain_window(rng, layer.matte.shape, missing**0.5)
        colour = cv2.add(
            colour,
            cv2.multiply(matte, cv2.merge([grain] * 3), scale=1 / 255, dtype=cv2.CV_32F),
            dtype=cv2.CV_8U,
        )
    return replace(layer, colour=np.asarray(colour, np.uint8))


def colour_gains(captured: Tone, plate: Tone, config: ToneConfig) -> tuple[float, float, float]:
    """The factors of red, green and blue by which a cut-out comes to a plate's light."""
    pairs = zip(captured.mean_rgb, plate.mean_rgb, strict=True)
    ratios = np.array([(there + 1) / (here + 1) for here, there in pairs])
    red, green, blue = np.clip(
        ratios**config.colour_strength, 1 / config.colour_limit, config.colour_limit
    ).tolist()
    return red, green, blue


def grain_window(rng: np.random.Generator, size: tuple[int, ...], sigma: float) -> NDArray[np.float32]:
    """Grain for a layer: h×w float32 levels, normal with standard deviation ``sigma``."""
    rows, columns = (int(rng.integers(_GRAIN_SIDE)) + np.arange(side) for side in size)
    window = _grain().take(rows, axis=0, mode="wrap").take(columns, axis=1, mode="wrap")
    return window * np.float32(sigma)


@cache
def _grain() -> NDArray[np.float32]:
    """One field of which each layer takes a window: to draw it anew would cost more than all else."""
    return np.random.default_rng(0x6241).standard_normal((_GRAIN_SIDE, _GRAIN_SIDE), np.float32)
