"""Pictures as the networks' codec sees them: encoded in float32, scaled as the U-Net takes them."""

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor


@torch.no_grad()
def encoded(vae: Any, *pictures: Tensor) -> tuple[Tensor, ...]:
    """Each B×3×H×W in [-1, 1] → B×k×h×w latents, scaled as the U-Net takes them; float32 in any autocast."""
    scale = vae.config["scaling_factor"]
    kind = pictures[0].device.type
    with nullcontext() if kind == "meta" else torch.autocast(kind, enabled=False):  # "meta" has no autocast
        return tuple(vae.encode(each).latent_dist.mode() * scale for each in pictures)
