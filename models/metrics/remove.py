"""Measure ReMOVE and ReMOVE+: whether the filled region looks like its surroundings.

ReMOVE (Chandrasekar et al. 2024, arXiv 2409.00707) needs no ground truth. It compares the mean feature of
SAM's image encoder inside the mask with the mean outside it, both taken from the removal. ReMOVE+ (papers.md,
fact 21) compares the removal's object and effects with the INPUT's background. A remover that paints over the
background therefore cannot raise the score. Both use a square around the region, so that inside and outside
have similar weight.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import torch
from torch import Tensor
from transformers import SamVisionModel

from data_specs.arrays import Mask, RgbImage
from data_specs.metric import MetricSpec, RemovedImage
from models.images.backbones import folder_fingerprint, load_backbone

_MARGIN_FRACTION = 16 / 512
"""Border around the region's box, as a fraction of the short side: the authors' 16 px at the papers' 512."""
_INSIDE = 0.5
"""A feature cell is inside if the region covers this fraction of it. NOT PUBLISHED. All other cells are
outside."""
_MEAN, _DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""SAM subtracts the mean from its levels and divides by the deviation."""

Encoder = Callable[[Sequence[RgbImage]], Tensor]
"""N square images uint8 of any sizes → N×D×h×w float features."""

REMOVE = MetricSpec(
    "remove",
    "ReMOVE",
    "",
    "higher",
    3,
    "Cosine of SAM's mean features inside and outside the mask, both of the removal "
    "(Chandrasekar et al. 2024). It needs no ground truth.",
)
REMOVE_PLUS = MetricSpec(
    "remove_plus",
    "ReMOVE+",
    "",
    "higher",
    3,
    "The same of the removal inside M_fg and the SOURCE outside it (ObjectClear; papers.md, fact 21).",
)


@dataclass(frozen=True, slots=True)
class Remove:
    """A Metric: ReMOVE, -1 to 1. Undefined if no cell lies inside the mask, or none outside."""

    encode: Encoder
    fingerprint: str
    spec: MetricSpec = REMOVE

    def measure(self, images: Sequence[RemovedImage]) -> list[float]:
        """See ``Metric.measure``."""
        boxes = [square_box(image.mask) for image in images]
        features = self.encode([p.removal[box] for p, box in zip(images, boxes, strict=True)])
        regions = [p.mask[box] for p, box in zip(images, boxes, strict=True)]
        return [region_cosine(one, one, region) for one, region in zip(features, regions, strict=True)]


@dataclass(frozen=True, slots=True)
class RemovePlus:
    """A Metric: ReMOVE+, -1 to 1. Undefined if no cell lies inside M_fg, or none outside."""

    encode: Encoder
    fingerprint: str
    spec: MetricSpec = REMOVE_PLUS

    def measure(self, images: Sequence[RemovedImage]) -> list[float]:
        """See ``Metric.measure``."""
        boxes = [square_box(image.effect_region) for image in images]
        removals = self.encode([p.removal[box] for p, box in zip(images, boxes, strict=True)])
        sources = self.encode([p.source[box] for p, box in zip(images, boxes, strict=True)])
        regions = [p.effect_region[box] for p, box in zip(images, boxes, strict=True)]
        return [region_cosine(*removal) for removal in zip(removals, sources, regions, strict=True)]


def square_box(region: Mask) -> tuple[slice, slice]:
    """The smallest square around a region and its margin, moved into the image, and cut if it is larger.

    Args:
        region: H×W bool, not empty.

    Returns:
        Rows and columns.
    """
    height, width = region.shape
    margin = max(1, round(_MARGIN_FRACTION * min(height, width)))
    left, top, box_width, box_height = cv2.boundingRect(region.astype(np.uint8))
    side = min(max(box_width, box_height) + 2 * margin, height, width)
    top = min(max(top + box_height // 2 - side // 2, 0), height - side)
    left = min(max(left + box_width // 2 - side // 2, 0), width - side)
    return slice(top, top + side), slice(left, left + side)


def region_cosine(inside_of: Tensor, outside_of: Tensor, region: Mask) -> float:
    """Cosine between the mean feature inside a region and the mean feature outside it.

    Args:
        inside_of: D×h×w features. Its cells inside the region count.
        outside_of: D×h×w features. Its cells outside the region count.
        region: H×W bool over the same square. A cell is inside if half of it is.

    Returns:
        -1 to 1. NaN if no cell is inside, or none outside.
    """
    rows, columns = inside_of.shape[1:]
    covered = torch.nn.functional.adaptive_avg_pool2d(
        torch.from_numpy(region.astype(np.float32))[None, None], (rows, columns)
    )[0, 0]
    inside = covered >= _INSIDE
    if not inside.any() or inside.all():
        return math.nan
    one = inside_of.double()[:, inside].mean(dim=1)
    other = outside_of.double()[:, ~inside].mean(dim=1)
    return float(torch.nn.functional.cosine_similarity(one, other, dim=0))


def remove_metrics(folder: Path) -> tuple[Remove, RemovePlus]:
    """Both metrics, on the SAM model in a folder (the paper uses ViT-H). A whole SamModel works too.

    Raises:
        ModelError: If the model cannot be read, or is incomplete.
    """
    model = load_backbone(SamVisionModel, folder)
    size_px = cast(int, model.config.image_size)

    @torch.no_grad()
    def encode(images: Sequence[RgbImage]) -> Tensor:
        # One image at a time: at full size the attention of one image takes a gigabyte.
        return torch.cat(
            [
                model(pixel_values=_prepared(image, size_px).to(model.device)).last_hidden_state.cpu()
                for image in images
            ]
        )

    name = folder_fingerprint(folder)
    return Remove(encode, name), RemovePlus(encode, name)


def _prepared(image: RgbImage, size_px: int) -> Tensor:
    """A square image in SAM's input form: 1×3×size×size float32."""
    resized = cv2.resize(image, (size_px, size_px), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    scaled = (resized - np.array(_MEAN, np.float32)) / np.array(_DEVIATION, np.float32)
    return torch.from_numpy(scaled.transpose(2, 0, 1)[None])
