"""Convert images and masks to tensors for the networks, and back."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from data_specs.arrays import Mask, RgbImage


def images_to_tensor(images: Sequence[RgbImage]) -> Tensor:
    """N images H×W×3 uint8 → N×3×H×W float, [-1, 1]."""
    return levels_to_tensor(images) / 127.5 - 1


def levels_to_tensor(images: Sequence[RgbImage]) -> Tensor:
    """N images H×W×3 uint8 of one size → N×3×H×W float, [0, 255]."""
    return torch.from_numpy(np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))).float()


def masks_to_tensor(masks: Sequence[Mask]) -> Tensor:
    """N masks H×W bool → N×1×H×W float, 0 or 1."""
    return torch.from_numpy(np.stack(masks)[:, None].astype(np.float32))


def tensor_to_images(tensor: Tensor) -> list[RgbImage]:
    """N×3×H×W float, [-1, 1] (clipped) → N images H×W×3 uint8."""
    levels = ((tensor.detach().float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return list(levels.permute(0, 2, 3, 1).cpu().numpy())


def indices_by_size(images: Sequence[RgbImage]) -> list[list[int]]:
    """Group the indices of images H×W×3 uint8 by size, in order.

    The images of one group fit into one tensor.
    """
    places: dict[tuple[int, ...], list[int]] = {}
    for place, image in enumerate(images):
        places.setdefault(image.shape, []).append(place)
    return list(places.values())
