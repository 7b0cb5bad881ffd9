"""Read backgrounds: a folder of photographs, a clip's empty scene, or empty synthetic scenes."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from data_specs.arrays import RgbImage
from data_specs.keys import derive_key, image_hash
from data_specs.plate import Background
from data_specs.reject import Reject, RejectReason
from tasks.sources.clip.clip import ClipConfig, clip_scene
from tasks.sources.image_files import RejectedImage, images_in, path_inside, read_image
from tasks.sources.image_ops import Square, cut_image
from tasks.sources.pairs import ImageLimits
from tasks.sources.scenes import by_pixels, sequence_of
from tasks.sources.synthetic.render import render
from tasks.sources.synthetic.samples import SyntheticConfig, empty_scene
from tasks.sources.synthetic.scene import focal_px


class FolderBackgrounds(ImageLimits):
    """The JPEG and PNG files of one folder."""

    kind: Literal["folder"] = "folder"
    size_px: int = Field(
        default=512,
        ge=64,
        le=2048,
        description="Side of the plates, in pixels. The middle square of each image is reduced to it.",
    )


class ClipBackground(BaseModel):
    """The empty scene of a fixed-camera video."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["clip"] = "clip"
    clip: ClipConfig = Field(default=ClipConfig(), description="Settings of the clip.")
    size_px: int = Field(default=512, ge=64, le=2048, description="Side of the plate, in pixels.")
    focal_fraction: float = Field(
        default=1.0, gt=0, le=20, description="Focal length divided by the side of the plate."
    )


class SyntheticBackgrounds(BaseModel):
    """Synthetic scenes with nothing on their ground, as plain images or with their exact truth."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["synthetic"] = "synthetic"
    renderer: SyntheticConfig = Field(
        default=SyntheticConfig(size_px=128), description="Settings of the renderer."
    )
    scenes: int = Field(default=50, ge=1, le=10_000_000, description="Number of scenes.")
    use_rendered_truth: bool = Field(
        default=False,
        description="Whether to use the exact ground and depth of the renderer. Otherwise perception "
        "estimates them. For tests and measurements.",
    )


BackgroundSource = Annotated[
    FolderBackgrounds | ClipBackground | SyntheticBackgrounds, Field(discriminator="kind")
]


def count_backgrounds(source: BackgroundSource) -> int:
    """The number of backgrounds and rejects that a source gives.

    Raises:
        InputError: If the folder is missing.
    """
    if isinstance(source, SyntheticBackgrounds):
        return source.scenes
    return len(images_in(source.path)) if isinstance(source, FolderBackgrounds) else 1


def read_backgrounds(source: BackgroundSource, first: int, count: int) -> Iterator[Background | Reject]:
    """Backgrounds ``first`` to ``first + count`` of a source, including rejects.

    Raises:
        InputError: If the source cannot be read at all.
    """
    if isinstance(source, SyntheticBackgrounds):
        return (synthetic_background(source.renderer, number) for number in numbers_of(source, first, count))
    if isinstance(source, ClipBackground):
        return islice((_of_clip(clip) for clip in (source,)), first, first + count)
    paths = images_in(source.path)[first : first + count]
    return (_of_file(path, source) for path in paths)


def numbers_of(source: SyntheticBackgrounds, first: int, count: int) -> range:
    """The numbers of scenes ``first`` to ``first + count``, as far as they exist."""
    return range(first, min(source.scenes, first + count))


def middle_square(image: RgbImage, size_px: int) -> RgbImage:
    """S×S×3 uint8: the largest square in the middle. It is not enlarged."""
    height, width = image.shape[:2]
    side = min(height, width)
    square = Square(left=(width - side) // 2, top=(height - side) // 2, side=side)
    return cut_image(image, square, min(size_px, side))


def _of_file(path: Path, source: FolderBackgrounds) -> Background | Reject:
    try:
        whole = read_image(path_inside(source.path, path.name), max_pixels=source.max_pixels)
    except RejectedImage as error:
        return error.as_reject("backgrounds", path.name)
    image = middle_square(whole, source.size_px)
    scene, split = by_pixels(path, whole, source, sequence_of("backgrounds", source.path, path.name))
    return Background(
        scene=scene,
        split=split,
        origin=f"folder:{source.path.name}/{path.name}",
        image=image,
        focal_px=source.focal_fraction * len(image) * max(whole.shape[:2]) / min(whole.shape[:2]),
    )


def _of_clip(source: ClipBackground) -> Background | Reject:
    name = source.clip.path.name
    plate = clip_scene(source.clip)
    if plate is None:
        detail = "its frames show more than one scene"
        return Reject(source="backgrounds", name=name, reason=RejectReason.CAMERA_MOVED, detail=detail)
    image = middle_square(plate, source.size_px)
    return Background(
        scene=derive_key("clip scene", image_hash(plate)),
        split="train",
        origin=f"clip:{name}",
        image=image,
        focal_px=source.focal_fraction * len(image),
    )


def synthetic_background(config: SyntheticConfig, number: int) -> Background:
    """Empty scene ``number`` of a config."""
    scene = empty_scene(config, number)
    return Background(
        scene=derive_key("studio scene", scene.seed, config.world.model_dump_json()),
        split=config.split,
        origin=f"studio plate:{config.split}/{config.seed}/{number}",
        image=render(scene, config.size_px).image,
        focal_px=focal_px(scene, config.size_px),
    )
