"""Blend: layers over a plate, far to near, and what of each is seen."""

from collections.abc import Sequence

import cv2
import numpy as np

from data_specs.arrays import Mask, Matte, Region, RgbImage
from tasks.objectclear.layer import Layer


def blend(plate: RgbImage, layers: Sequence[Layer]) -> RgbImage:
    """The plate with layers on it.

    Each layer darkens and brightens all that lies under it, so its shadow falls on the plate and on what
    stands behind it; then its object covers that. Where two shadows of one sun meet, the deeper counts:
    light that is taken once cannot be taken again.

    Args:
        plate: H×W×3 uint8.
        layers: Far to near, each wholly inside the plate.

    Returns:
        H×W×3 uint8, a new picture; where no layer has its support it equals the plate.
    """
    picture = plate.copy()
    taken = np.zeros_like(plate) if len(layers) > 1 else None
    for layer in layers:
        there = picture[layer.window]
        through = cv2.bitwise_not(cv2.merge([layer.matte] * 3))
        light = cv2.bitwise_not(layer.darkening)
        if taken is not None:
            before = taken[layer.window]
            # What earlier shadows have left is all there is to take from.
            left = np.maximum(cv2.bitwise_not(before), 1)
            light = cv2.divide(light, left, scale=255)
            deeper = cv2.max(before, layer.darkening)
            taken[layer.window] = cv2.multiply(deeper, through, scale=1 / 255)
        lit = cv2.add(cv2.multiply(there, light, scale=1 / 255), layer.brightening)
        picture[layer.window] = cv2.add(layer.colour, cv2.multiply(lit, through, scale=1 / 255))
    return picture


def seen_of(layers: Sequence[Layer], size: tuple[int, int]) -> list[tuple[Mask, Region]]:
    """What is seen of each layer.

    Args:
        layers: Far to near.
        size: The plate's height and width.

    Returns:
        For each layer M_o, H×W bool: where it shows by half or more; and M_fg, H×W bool: where it may
        change the picture at all. M_o lies in M_fg.
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
