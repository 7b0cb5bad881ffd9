"""Pictures and masks as the networks take them."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from data_specs.arrays import Mask, RgbImage


def pictures_to_tensor(pictures: Sequence[RgbImage]) -> Tensor:
    """N pictures H×W×3 uint8 → N×3×H×W float, [-1, 1]."""
    stacked = np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2))
    return torch.from_numpy(stacked).float() / 127.5 - 1


def masks_to_tensor(masks: Sequence[Mask]) -> Tensor:
    """N masks H×W bool → N×1×H×W float, 0 or 1."""
    return torch.from_numpy(np.stack(masks)[:, None].astype(np.float32))


def tensor_to_pictures(tensor: Tensor) -> list[RgbImage]:
    """N×3×H×W float, [-1, 1] (clipped) → N pictures H×W×3 uint8."""
    levels = ((tensor.detach().float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return list(levels.permute(0, 2, 3, 1).cpu().numpy())


def places_by_size(pictures: Sequence[RgbImage]) -> list[list[int]]:
    """The places of the pictures of each size, in order: what may share a tensor."""
    places: dict[tuple[int, ...], list[int]] = {}
    for place, picture in enumerate(pictures):
        places.setdefault(picture.shape, []).append(place)
    return list(places.values())
