"""Blend layers over a plate, far to near, and compute what each layer shows (papers.md, fact 15)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from data_specs.arrays import Effect, Mask, Matte, Region, RgbImage
from data_specs.cutout import Cutout
from data_specs.plate import Tone
from tasks.objectclear.ground import foot_of

# A layer: a cut-out in the size, position and tone it has on a plate.

_FAINT = 2
"""Effects below this (of 255, or in levels) are dropped. A resized effect would fade out over many pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """h rows and w columns. Its top left corner lies at (top, left) of the plate."""

    top: int
    left: int
    colour: RgbImage
    """h×w×3 uint8, the object's colours times its matte."""
    matte: Matte
    """h×w uint8."""
    darkening: Effect
    """h×w×3 uint8."""
    brightening: Effect
    """h×w×3 uint8."""

    @property
    def window(self) -> tuple[slice, slice]:
        """The layer's box in the plate."""
        height, width = self.matte.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    @property
    def mask(self) -> Mask:
        """h×w bool: True where the object covers at least half of the pixel."""
        return self.matte >= 128

    @property
    def support(self) -> Region:
        """h×w bool: True where the layer may change what lies under it."""
        effect = cv2.bitwise_or(self.darkening, self.brightening)
        first, second, third = cv2.split(effect)
        return cv2.bitwise_or(cv2.bitwise_or(first, second), cv2.bitwise_or(third, self.matte)) > 0


def scaled_layer(cutout: Cutout, scale: float, foot: tuple[int, int]) -> Layer | None:
    """A cut-out at a scale, with its foot on a pixel of the plate.

    Args:
        cutout: The object.
        scale: Its size on the plate divided by its size when captured, > 0.
        foot: Row and column of the plate.

    Returns:
        The layer, or None if nothing of the object would be left.
    """
    three = cv2.merge([cutout.matte] * 3)
    parts = [
        cv2.multiply(cutout.image, three, scale=1 / 255),
        cutout.matte,
        cutout.darkening,
        cutout.brightening,
    ]
    if scale != 1:
        height, width = (max(1, round(side * scale)) for side in cutout.matte.shape)
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        parts = [cv2.resize(part, (width, height), interpolation=how) for part in parts]
    colour, matte, darkening, brightening = (np.asarray(part, np.uint8) for part in parts)
    if not (matte >= 128).any():
        return None
    row, column = foot_of(matte >= 128)
    return Layer(
        top=foot[0] - row,
        left=foot[1] - column,
        colour=colour,
        matte=matte,
        darkening=_clear_of_faint(darkening),
        brightening=_clear_of_faint(brightening),
    )


def _clear_of_faint(effect: Effect) -> Effect:
    return np.asarray(cv2.threshold(effect, _FAINT - 1, 255, cv2.THRESH_TOZERO)[1], np.uint8)


def blend(plate: RgbImage, layers: Sequence[Layer]) -> RgbImage:
    """Lay the layers on the plate.

    Each layer darkens and brightens everything under it: its shadow falls on the plate and on the objects
    behind it. Then its object covers that. Where two shadows of one sun overlap, the deeper one counts: light
    cannot be taken twice.

    Args:
        plate: H×W×3 uint8.
        layers: Far to near, each completely inside the plate.

    Returns:
        H×W×3 uint8, a new image. It equals the plate outside the layers' supports.
    """
    image = plate.copy()
    taken = np.zeros_like(plate) if len(layers) > 1 else None
    for layer in layers:
        there = image[layer.window]
        through = cv2.bitwise_not(cv2.merge([layer.matte] * 3))
        light = cv2.bitwise_not(layer.darkening)
        if taken is not None:
            before = taken[layer.window]
            # A shadow can only take the light that earlier shadows left.
            left = np.maximum(cv2.bitwise_not(before), 1)
            light = cv2.divide(light, left, scale=255)
            deeper = cv2.max(before, layer.darkening)
            taken[layer.window] = cv2.multiply(deeper, through, scale=1 / 255)
        lit = cv2.add(cv2.multiply(there, light, scale=1 / 255), layer.brightening)
        image[layer.window] = cv2.add(layer.colour, cv2.multiply(lit, through, scale=1 / 255))
    return image


def visible_masks(layers: Sequence[Layer], size: tuple[int, int]) -> list[tuple[Mask, Region]]:
    """What is visible of each layer.

    Args:
        layers: Far to near.
        size: The plate's height and width.

    Returns:
        Two masks for each layer. M_o, H×W bool: the layer covers at least half of the pixel. M_fg, H×W bool:
        the layer may change the pixel at all. M_o lies in M_fg.
    """
    through: Matte = np.full(size, 255, np.uint8)
    seen: list[tuple[Mask, Region]] = []
    for layer in reversed(layers):
        window = through[layer.window]
        mask, foreground = np.zeros(size, bool), np.zeros(size, bool)
        mask[layer.window] = cv2.multiply(layer.matte, window, scale=1 / 255) >= 128
        foreground[layer.window] = layer.support & (window > 0)
        seen.append((mask, foreground))
        through[layer.window] = cv2.multiply(window, cv2.bitwise_not(layer.matte), scale=1 / 255)
    return seen[::-1]


# Match the tone: a layer takes on the plate's colour and grain.

_GRAIN_SIDE = 1024


class ToneConfig(BaseModel):
    """How far a cut-out is adapted to its plate. The paper publishes no matching; this one is ours."""

    model_config = ConfigDict(frozen=True)

    colour_strength: float = Field(
        default=0.4,
        ge=0,
        le=1,
        description="Fraction of the difference of the mean colours that is corrected. The rest may come "
        "from the object's own colour.",
    )
    colour_limit: float = Field(default=1.25, ge=1, le=3, description="Maximum factor of a colour channel.")
    grain: bool = Field(default=True, description="Whether the object gets the grain of the plate.")


def match_tone(
    layer: Layer, scale: float, captured: Tone, plate: Tone, config: ToneConfig, rng: np.random.Generator
) -> Layer:
    """The layer in the plate's tone. Its effect needs no change, since it acts on the plate's own light.

    Args:
        layer: As `scaled_layer` returns it.
        scale: The layer's scale. It made the capture's own grain finer.
        captured: Tone of the image that the object was cut from.
        plate: Tone of the plate.
        config: How far to adapt.
        rng: Chooses the part of the grain field.
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
    """The factors of red, green and blue that bring a cut-out to the plate's light."""
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
    """One grain field. Each layer takes a window of it: a new field would cost more than everything else."""
    return np.random.default_rng(0x6241).standard_normal((_GRAIN_SIDE, _GRAIN_SIDE), np.float32)


# Tone: an image's mean colour and the grain of its camera.

_LAPLACE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_SIGMA_OF_MEDIAN = 1.4826 / 6
"""σ of a normal distribution over its median absolute value, and the filter's gain (root square sum 6)."""


def tone_of(image: RgbImage) -> Tone:
    """Measure an image's tone.

    A filter that does not react to slopes and straight edges measures the grain (Immerkær 1996). The median
    is used, because texture moves it less than the mean.

    Args:
        image: H×W×3 uint8.
    """
    red, green, blue, _ = cv2.mean(image)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine = np.abs(cv2.filter2D(grey, cv2.CV_32F, _LAPLACE))
    return Tone(mean_rgb=(red, green, blue), grain=float(np.median(fine)) * _SIGMA_OF_MEDIAN)
