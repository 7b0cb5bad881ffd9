"""Make triplets that cost as much to encode as photographs: soft shapes, edges and a little grain."""

import cv2
import numpy as np

from data_specs.arrays import RgbImage
from data_specs.triplet import Triplet


def image_like(count: int, size: int = 512, seed: int = 0) -> list[Triplet]:
    """Triplets of ``size``×``size``. The same seed gives the same triplets."""
    noise = np.random.default_rng(seed)
    return [_triplet(noise, number, size) for number in range(count)]


def _triplet(noise: np.random.Generator, number: int, size: int) -> Triplet:
    ground_truth = _background(noise, size)
    disc = np.zeros((size, size), np.uint8)
    centre = [int(each) for each in noise.integers(size // 4, 3 * size // 4, 2)]
    cv2.circle(disc, centre, size // 6, 255, -1)
    source = ground_truth.copy()
    source[disc > 0] = noise.integers(0, 255, 3)
    return Triplet(
        key=f"sample-{number:05d}",
        scene=f"scene-{number}",
        split="train",
        origin=f"benchmark:{number}",
        source=source,
        mask=disc > 0,
        ground_truth=ground_truth,
    )


def _background(noise: np.random.Generator, size: int) -> RgbImage:
    image = np.zeros((size, size, 3), np.float32)
    for cells, strength in ((4, 120.0), (24, 60.0), (size // 6, 30.0)):
        coarse = noise.uniform(0, strength, (cells, cells, 3)).astype(np.float32)
        image += cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    image += noise.normal(0, 2.0, image.shape).astype(np.float32)
    return image.clip(0, 255).astype(np.uint8)
