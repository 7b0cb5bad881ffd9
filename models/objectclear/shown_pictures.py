"""Pictures as a latent network sees them: window, work size and first noise, those of one size together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Generator, Tensor

from data_specs.arrays import Mask, RgbImage
from data_specs.errors import InputError
from models.images.window import WorkWindow, show_mask, show_picture

Generators = Generator | list[Generator] | None
"""Of the noise, as diffusers takes them: one for all pictures in turn, one for each, or torch's own."""


@dataclass(frozen=True, slots=True)
class ShownPicture:
    """One picture as the network sees it."""

    index: int
    """Its place in the batch it came from."""
    window: WorkWindow
    picture: RgbImage
    """h×w×3 uint8, at work size."""
    mask: Mask
    """h×w bool."""
    noise: Tensor
    """1×k×h/f×w/f, the first latents."""


@dataclass(frozen=True, slots=True)
class LatentSpace:
    """What the noise must look like."""

    channels: int
    factor: int
    """Pixels a latent cell is wide."""
    device: torch.device
    dtype: torch.dtype


def show_pictures(
    pictures: Sequence[RgbImage],
    masks: Sequence[Mask],
    window_of: Callable[[Mask], WorkWindow],
    space: LatentSpace,
    generator: Generators,
) -> list[list[ShownPicture]]:
    """Groups of one work size; the noise is drawn in the pictures' order all the same.

    Args:
        pictures: N of H×W×3 uint8.
        masks: N of H×W bool.
        window_of: Chooses a picture's window by its mask.
        space: Of the latents.
        generator: See ``Generators``.

    Raises:
        InputError: If there are more or fewer generators than pictures.
    """
    if isinstance(generator, list) and len(generator) != len(pictures):
        raise InputError("generator", f"{len(generator)} generators for {len(pictures)} pictures")
    groups: dict[torch.Size, list[ShownPicture]] = {}
    for index, (picture, mask) in enumerate(zip(pictures, masks, strict=True)):
        window = window_of(mask)
        noise = randn_tensor(
            (1, space.channels, window.work_height // space.factor, window.work_width // space.factor),
            generator=generator[index] if isinstance(generator, list) else generator,
            device=space.device,
            dtype=space.dtype,
        )
        shown = ShownPicture(index, window, show_picture(picture, window), show_mask(mask, window), noise)
        groups.setdefault(noise.shape, []).append(shown)
    return list(groups.values())
