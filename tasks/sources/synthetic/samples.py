"""Make synthetic samples: a scene with and without one object, and the exact truth about it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from data_specs.arrays import Alpha, Depth, Mask, Region, RgbImage
from data_specs.captured_pair import CapturedPair
from data_specs.keys import Split, derive_key
from data_specs.pool_item import PoolItem
from data_specs.triplet import Triplet
from tasks.sources.synthetic.lighting import FIRST_SOLID, GROUND, Classes
from tasks.sources.synthetic.render import (
    Sight,
    all_solids,
    coverage,
    expose,
    expose_without,
    look,
    rendering_of,
)
from tasks.sources.synthetic.scene import Scene, World, draw_scene, focal_px


def along_axis(depth: Depth, focal: float) -> Depth:
    """Depth along the view axis, from the renderer's depth along the ray."""
    steps = (np.arange(len(depth), dtype=np.float32) + 0.5 - len(depth) / 2) / np.float32(focal)
    return (depth / np.sqrt(1 + steps[None, :] ** 2 + steps[:, None] ** 2)).astype(np.float32)


HUES = ("red", "yellow", "green", "cyan", "blue", "magenta")


_MIN_FRACTION = 0.012
"""An object smaller than this fraction of the image is not chosen."""
_EFFECT_LEVELS = 6
"""Grey levels by which a pixel must change to belong to the effect."""


class SyntheticConfig(BaseModel):
    """Which samples to make."""

    model_config = ConfigDict(frozen=True)

    world: World = Field(default=World(), description="Settings of the scenes.")
    size_px: int = Field(default=64, ge=16, le=2048, description="Side of the square images, in pixels.")
    seed: int = Field(default=0, ge=0, description="Seed of the scenes. Two splits never share a scene.")
    split: Split = Field(default="train", description="The split of all samples.")
    copy_paste: bool = Field(
        default=False,
        description="Whether the removed object has no shadow and no reflection, as in pasted pairs (MULAN).",
    )


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticSample:
    """One object's sample. S = size in pixels."""

    key: str
    scene: str
    origin: str
    class_name: str
    source: RgbImage
    ground_truth: RgbImage
    mask: Mask
    """S×S, True where the object covers at least half of the pixel."""
    matte: Alpha
    """S×S, the object's exact coverage."""
    effect: Mask
    """S×S, True where shadow or reflection changes a pixel off the object by 6 grey levels or more."""
    effect_alpha: Alpha
    """S×S, darkening off the object by ObjectClear's equation 1: (ground_truth − source) / ground_truth."""
    depth: Depth
    classes: NDArray[np.int16]
    focal_px: float
    """The camera's focal length in pixels."""
    azimuth: float | None
    """Radians to the sun (0 = away from the camera, growing to the right). None = overcast."""


def make_sample(config: SyntheticConfig, index: int) -> SyntheticSample:
    """Sample ``index`` of a config. The same config and index give the same sample."""
    for attempt in range(100):
        seed = int(derive_key("studio", config.split, config.seed, index, attempt)[:15], 16)
        scene = draw_scene(seed, config.world)
        sight = look(scene, config.size_px)
        target = _pick_target(sight, seed)
        if target is not None:
            return _render_sample(config, index, sight, target)
    raise AssertionError("a hundred scenes in a row have no object that is large enough")


def _pick_target(sight: Sight, seed: int) -> int | None:
    fractions = [float((sight.classes == FIRST_SOLID + i).mean()) for i in range(len(sight.scene.solids))]
    large = [i for i, fraction in enumerate(fractions) if fraction >= _MIN_FRACTION]
    return large[seed % len(large)] if large else None


def _render_sample(config: SyntheticConfig, index: int, sight: Sight, target: int) -> SyntheticSample:
    scene, everything = sight.scene, all_solids(sight.scene)
    light = expose(sight, everything - {target} if config.copy_paste else everything)
    rendering = rendering_of(sight, light)
    ground_truth = rendering_of(sight, expose_without(sight, light, target)).image
    matte = coverage(rendering.classes, target, config.size_px)
    mask = matte >= 0.5
    change = np.abs(rendering.image.astype(np.int16) - ground_truth).max(axis=2)
    world = config.world.model_dump_json()
    return SyntheticSample(
        key=derive_key("studio shot", scene.seed, world, config.size_px, config.copy_paste),
        scene=derive_key("studio scene", scene.seed, world),
        origin=f"studio:{config.split}/{config.seed}/{index}",
        class_name=scene.solids[target].shape,
        source=rendering.image,
        ground_truth=ground_truth,
        mask=mask,
        matte=matte,
        effect=(change >= _EFFECT_LEVELS) & (matte == 0),
        effect_alpha=_darkening(rendering.image, ground_truth) * (matte == 0),
        depth=rendering.depth,
        classes=rendering.classes,
        focal_px=focal_px(scene, config.size_px),
        azimuth=scene.sun_azimuth if scene.sun_strength else None,
    )


def _darkening(source: RgbImage, ground_truth: RgbImage) -> Alpha:
    plate = ground_truth.astype(np.float32)
    alpha = (plate - source) / (plate + 1)
    return np.clip(alpha.mean(axis=2), 0, 1).astype(np.float32)


def as_triplet(rendered: SyntheticSample, split: Split) -> Triplet:
    """The synthetic sample as a training or test sample."""
    return Triplet(
        key=rendered.key,
        scene=rendered.scene,
        split=split,
        origin=rendered.origin,
        source=rendered.source,
        mask=rendered.mask,
        ground_truth=rendered.ground_truth,
    )


def as_pool_item(rendered: SyntheticSample, split: Split) -> PoolItem:
    """The synthetic sample as an unlabelled image, without its ground truth."""
    return PoolItem(
        key=rendered.key,
        scene=rendered.scene,
        split=split,
        origin=rendered.origin,
        class_name=rendered.class_name,
        source=rendered.source,
        mask=rendered.mask,
    )


def as_captured_pair(rendered: SyntheticSample, split: Split) -> CapturedPair:
    """A synthetic sample as a captured pair. Its depth is in metres."""
    return CapturedPair(
        key=rendered.key,
        scene=rendered.scene,
        split=split,
        origin=rendered.origin,
        class_name=rendered.class_name,
        source=rendered.source,
        ground_truth=rendered.ground_truth,
        matte=np.rint(rendered.matte * 255).astype(np.uint8),
        effect=rendered.effect,
        ground=ground_of(rendered.classes, len(rendered.mask)),
        depth=along_axis(rendered.depth, rendered.focal_px),
        focal_px=rendered.focal_px,
    )


def ground_of(classes: Classes, size_px: int) -> Region:
    """S×S bool: True where the whole pixel shows ground."""
    step = len(classes) // size_px
    return (classes == GROUND).reshape(size_px, step, size_px, step).all(axis=(1, 3))


def synthetic_triplets(config: SyntheticConfig, indices: range) -> Iterator[Triplet]:
    """The triplets of samples ``indices``."""
    for index in indices:
        yield as_triplet(make_sample(config, index), config.split)


# Empty scenes: nothing stands on the ground.


def empty_scene(config: SyntheticConfig, number: int) -> Scene:
    """Empty scene ``number`` of a config. The same config and number give the same scene."""
    seed = int(derive_key("studio plate", config.split, config.seed, number)[:15], 16)
    return replace(draw_scene(seed, config.world), solids=())
