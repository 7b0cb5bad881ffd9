"""Convert a pipeline's inputs and outputs between PIL, numpy or torch and the project's arrays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from diffusers.utils.outputs import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from numpy.typing import NDArray
from PIL import Image
from torch import Generator, Tensor

from data_specs.arrays import Alpha, Mask, RgbImage
from data_specs.errors import InputError
from models.images.window import WorkWindow, show_image, show_mask

ImageInput: TypeAlias = Image.Image | NDArray[Any] | Tensor | Sequence[Any]
"""One image or a batch of images. A sequence holds images of one kind."""
MaskInput: TypeAlias = ImageInput
OutputType = Literal["pil", "np", "pt", "uint8"]


@dataclass
class ObjectClearOutput(BaseOutput):
    """The result of the pipeline."""

    images: Any
    """In the form of the call's ``output_type``, at the images' own sizes."""
    attention: list[Alpha]
    """For each image H×W float32, [0, 1]: the object token's attention. 0 where the network did not look."""


def as_images(given: ImageInput) -> list[RgbImage]:
    """Convert images to H×W×3 uint8.

    Args:
        given: PIL (RGB or grey), numpy H×W×3 or B×H×W×3 (uint8, or float [0, 1]), tensors 3×H×W or B×3×H×W
            [0, 1], or a sequence of these.

    Raises:
        InputError: If an image is none of these.
    """
    return [_levels(image, "image", 3) for image in _one_by_one(given, 3)]


def as_masks(given: MaskInput, images: Sequence[RgbImage]) -> list[Mask]:
    """Convert masks to H×W bool, one for each image, True above half.

    Args:
        given: As for ``as_images``. Bool, H×W, and one channel in place of three are accepted too.
        images: H×W×3 uint8.

    Raises:
        InputError: If the number or a size differs from the images', or a mask is empty.
    """
    masks = [_levels(mask, "mask_image", 1) > 127 for mask in _one_by_one(given, 1)]
    if len(masks) != len(images):
        raise InputError(
            "mask_image", f"{len(masks)} masks for {len(images)} images; give one mask for each image"
        )
    for mask, image in zip(masks, images, strict=True):
        if mask.shape != image.shape[:2]:
            raise InputError(
                "mask_image",
                f"a mask of {mask.shape} for an image of {image.shape[:2]}; give both the same size",
            )
        if not mask.any():
            raise InputError("mask_image", "a mask is empty; mark the object with True or white")
    return masks


def as_output(images: Sequence[RgbImage], kind: OutputType) -> Any:
    """Convert images H×W×3 uint8 to the requested form.

    Args:
        images: N images.
        kind: ``pil`` or ``uint8``: a list of images. ``np``: N×H×W×3 float [0, 1]. ``pt``: N×3×H×W float
            [0, 1]. If sizes differ, ``np`` and ``pt`` give a list.

    Raises:
        InputError: If the kind is unknown.
    """
    if kind == "pil":
        return [Image.fromarray(image) for image in images]
    if kind == "uint8":
        return list(images)
    if kind not in ("np", "pt"):
        raise InputError("output_type", f"unknown type {kind}; choose pil, np, pt or uint8")
    floats = [image.astype(np.float32) / 255 for image in images]
    if kind == "pt":
        tensors = [torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))) for image in floats]
        return torch.stack(tensors) if len({tensor.shape for tensor in tensors}) == 1 else tensors
    return np.stack(floats) if len({image.shape for image in floats}) == 1 else floats


def _one_by_one(given: Any, channels: int) -> list[Any]:
    """Split a batch into its images, not yet converted."""
    if isinstance(given, Image.Image):
        return [given]
    if isinstance(given, (np.ndarray, Tensor)):
        is_one = given.ndim == 3 and not (channels == 1 and _is_batch_of_flat(given))
        return [given] if is_one or given.ndim == 2 else list(given)
    return list(given)


def _is_batch_of_flat(given: Any) -> bool:
    """Whether three dimensions are B×H×W: masks without a channel."""
    channel = given.shape[0] if isinstance(given, Tensor) else given.shape[2]
    return channel not in (1, 3)


def _levels(image: Any, name: str, channels: int) -> NDArray[np.uint8]:
    """One image as uint8: H×W×3, or H×W for one channel."""
    if isinstance(image, Image.Image):
        if "A" in image.mode:
            raise InputError(name, "has transparent pixels; remove its alpha channel first")
        return np.asarray(image.convert("RGB" if channels == 3 else "L"), np.uint8)
    if isinstance(image, Tensor):
        array = image.detach().float().cpu().numpy()
        array = array.transpose(1, 2, 0) if array.ndim == 3 else array
    else:
        array = np.asarray(image)
    if channels == 1 and array.ndim == 3:
        array = array[..., 0]
    if array.ndim != (3 if channels == 3 else 2) or (channels == 3 and array.shape[2] != 3):
        raise InputError(
            name,
            f"an array of shape {array.shape} is not an image of {channels} channels; give H×W×{channels}",
        )
    if array.dtype == np.uint8:
        return array
    if array.dtype != np.bool_ and (array.min() < 0 or array.max() > 1):
        raise InputError(name, f"floats of {array.min():.3g}..{array.max():.3g}; scale them to 0..1")
    return np.round(array.astype(np.float32) * 255).astype(np.uint8)


# Images as a latent network sees them: window, work size and first noise, grouped by size.

Generators = Generator | list[Generator] | None
"""Generators of the noise, as in diffusers: one for all images in turn, one for each, or torch's own."""


@dataclass(frozen=True, slots=True)
class ShownImage:
    """One image as the network sees it."""

    index: int
    """Its index in the batch that it came from."""
    window: WorkWindow
    image: RgbImage
    """h×w×3 uint8, at work size."""
    mask: Mask
    """h×w bool."""
    noise: Tensor
    """1×k×h/f×w/f, the first latents."""


@dataclass(frozen=True, slots=True)
class LatentSpace:
    """The properties of the latents that decide the shape of the noise."""

    channels: int
    factor: int
    """Width of a latent cell in pixels."""
    device: torch.device
    dtype: torch.dtype


def show_images(
    images: Sequence[RgbImage],
    masks: Sequence[Mask],
    window_of: Callable[[Mask], WorkWindow],
    space: LatentSpace,
    generator: Generators,
) -> list[list[ShownImage]]:
    """Prepare images for the network, in groups of one work size. The noise is drawn in the images' order.

    Args:
        images: N of H×W×3 uint8.
        masks: N of H×W bool.
        window_of: Chooses an image's window by its mask.
        space: Properties of the latents.
        generator: See ``Generators``.

    Raises:
        InputError: If the number of generators differs from the number of images.
    """
    if isinstance(generator, list) and len(generator) != len(images):
        raise InputError(
            "generator", f"{len(generator)} generators for {len(images)} images; give one for each image"
        )
    groups: dict[torch.Size, list[ShownImage]] = {}
    for index, (image, mask) in enumerate(zip(images, masks, strict=True)):
        window = window_of(mask)
        noise = randn_tensor(
            (1, space.channels, window.work_height // space.factor, window.work_width // space.factor),
            generator=generator[index] if isinstance(generator, list) else generator,
            device=space.device,
            dtype=space.dtype,
        )
        shown = ShownImage(index, window, show_image(image, window), show_mask(mask, window), noise)
        groups.setdefault(noise.shape, []).append(shown)
    return list(groups.values())
