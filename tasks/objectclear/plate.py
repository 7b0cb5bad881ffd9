"""Find plates among a source's backgrounds, and write one shard of plates (papers.md, fact 14)."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from data_specs.arrays import Depth, Region, RgbImage
from data_specs.detection import ClassMap, SurfaceClass
from data_specs.keys import Split, derive_key
from data_specs.plate import Background, Plate
from data_specs.reject import RefusedSample, Reject, RejectReason
from models.protocols import DepthEstimator, GroundSegmenter
from tasks.execution.shard_task import shard_task
from tasks.objectclear.blend import tone_of
from tasks.objectclear.ground import FlatGroundConfig, fit_horizon, flat_ground
from tasks.objectclear.perception import Perception, SeeingWork, load_perception
from tasks.sources.backgrounds import (
    BackgroundSource,
    SyntheticBackgrounds,
    numbers_of,
    read_backgrounds,
    synthetic_background,
)
from tasks.sources.synthetic.render import render
from tasks.sources.synthetic.samples import SyntheticConfig, along_axis, empty_scene, ground_of
from tasks.sources.synthetic.scene import focal_px
from tasks.storage.shards import encode_plate
from tasks.storage.shards.result import Kept, ShardResult, write_with_rejects
from tasks.storage.workspace import Workspace

# Plates: an image with its ground and depth becomes a plate, or a reject (papers.md, fact 14).


class PlateConfig(BaseModel):
    """Which images can be plates. The paper publishes no limits; these are ours."""

    model_config = ConfigDict(frozen=True)

    min_side_px: int = Field(default=64, ge=16, description="Minimum shorter side of an image, in pixels.")
    min_ground_fraction: float = Field(
        default=0.05, ge=0, le=1, description="Minimum fraction of the image that is flat ground."
    )
    min_agreement: float = Field(
        default=0.97,
        ge=0,
        le=1,
        description="Minimum fraction of pixels whose class stays the same in the mirrored image. Below "
        "it, the image is unlike the training images of the ground segmenter. The default "
        "suits the tiny model.",
    )


def make_plate(
    config: PlateConfig,
    *,
    scene: str,
    split: Split,
    origin: str,
    image: RgbImage,
    ground: Region,
    depth: Depth,
    focal_px: float,
) -> Plate | Reject:
    """Make a plate from an image with known ground and depth.

    Args:
        config: The limits of a plate.
        scene: The scene key.
        split: The split of its scene.
        origin: Where the image came from, for people.
        image: H×W×3 uint8, as ``tasks.sources.image_files`` reads it.
        ground: H×W bool.
        depth: H×W float32, in the unit of the captured pairs. Not above 0 where unknown.
        focal_px: Focal length in pixels.

    Returns:
        The plate, or a reject: SIZE_MISMATCH, TOO_SMALL, NO_GROUND or NO_SCALE. Ground of unknown depth is
        left out of the plate's ground.
    """

    def refused(reason: RejectReason, detail: str) -> Reject:
        return Reject(source="plate", name=origin, reason=reason, detail=detail)

    size = image.shape[:2]
    if ground.shape != size or depth.shape != size:
        detail = f"image {size}, ground {ground.shape}, depth {depth.shape}"
        return refused(RejectReason.SIZE_MISMATCH, detail)
    if min(size) < config.min_side_px:
        detail = f"{size[1]}×{size[0]}, and the shorter side must have {config.min_side_px} px"
        return refused(RejectReason.TOO_SMALL, detail)
    minimum = max(1, config.min_ground_fraction * ground.size)
    if ground.sum() < minimum:
        return refused(RejectReason.NO_GROUND, f"{ground.mean():.1%} of the image")
    measurable = ground & np.isfinite(depth) & (depth > 0)
    if measurable.sum() < minimum:
        return refused(RejectReason.NO_SCALE, "the ground's depth is unknown")
    return Plate(
        key=derive_key("plate", image, measurable, depth, focal_px),
        scene=scene,
        split=split,
        origin=origin,
        image=image,
        ground=measurable,
        depth=depth,
        focal_px=focal_px,
        horizon=fit_horizon(depth, measurable),
        tone=tone_of(image),
    )


def synthetic_plate(config: SyntheticConfig, number: int, limits: PlateConfig) -> Plate | Reject:
    """Plate ``number`` of a synthetic config: a scene with nothing on its ground."""
    scene = empty_scene(config, number)
    rendering = render(scene, config.size_px)
    focal = focal_px(scene, config.size_px)
    return make_plate(
        limits,
        scene=derive_key("studio scene", scene.seed, config.world.model_dump_json()),
        split=config.split,
        origin=f"studio plate:{config.split}/{config.seed}/{number}",
        image=rendering.image,
        ground=ground_of(rendering.classes, config.size_px),
        depth=along_axis(rendering.depth, focal),
        focal_px=focal,
    )


# Mirror agreement: whether a model sees the same surfaces in an image and in its mirror image.


def mirror_agreement(segmenter: GroundSegmenter, image: RgbImage, classes: ClassMap) -> float:
    """The fraction of pixels whose class stays when left and right are exchanged, 0..1.

    A mirror changes no surface into another. A model that learned on similar images hardly changes its
    answer. On images it does not know it guesses, and its guesses differ.

    Args:
        segmenter: The model.
        image: H×W×3 uint8.
        classes: H×W uint8, the model's classes of the image itself.
    """
    mirrored = segmenter.classify(np.ascontiguousarray(image[:, ::-1]))
    return float((mirrored[:, ::-1] == classes).mean())


# Find a plate in an image: surfaces, depth and flat ground give a plate or a reject.


def find_plate(
    segmenter: GroundSegmenter,
    estimator: DepthEstimator,
    flatness: FlatGroundConfig,
    limits: PlateConfig,
    *,
    scene: str,
    split: Split,
    origin: str,
    image: RgbImage,
    focal_px: float,
) -> Plate | Reject:
    """Make a plate from an image of which nothing is known.

    Args:
        segmenter: Predicts the surfaces.
        estimator: Predicts the depth.
        flatness: What counts as flat ground.
        limits: The limits of a plate.
        scene: The scene key.
        split: The split of its scene.
        origin: Where the image came from, for people.
        image: H×W×3 uint8.
        focal_px: Focal length in pixels.

    Returns:
        The plate, with infinite depth where the segmenter sees sky. Or a reject of ``make_plate``, or
        UNFAMILIAR or NOT_FLAT. UNFAMILIAR: the segmenter contradicts itself in the mirror image. NOT_FLAT:
        there is enough ground, but too little of it is flat by its depth.
    """
    classes = segmenter.classify(image)
    agreement = mirror_agreement(segmenter, image, classes)
    if agreement < limits.min_agreement:
        detail = f"{1 - agreement:.1%} of it has another class in the mirrored image"
        return Reject(source="plate", name=origin, reason=RejectReason.UNFAMILIAR, detail=detail)
    depth = np.where(classes == SurfaceClass.SKY, np.float32(np.inf), estimator.estimate(image))
    ground = flat_ground(classes, depth, focal_px, flatness)
    shown, flat = float((classes == SurfaceClass.GROUND).mean()), float(ground.mean())
    if flat < limits.min_ground_fraction <= shown:
        detail = f"{shown:.1%} of the image is ground, {flat:.1%} flat ground"
        return Reject(source="plate", name=origin, reason=RejectReason.NOT_FLAT, detail=detail)
    return make_plate(
        limits,
        scene=scene,
        split=split,
        origin=origin,
        image=image,
        ground=ground,
        depth=depth,
        focal_px=focal_px,
    )


class PlateWork(SeeingWork):
    """The input of one shard of plates."""

    source: BackgroundSource
    count: int = Field(ge=1)
    limits: PlateConfig

    @property
    def sees(self) -> bool:
        """See ``SeeingWork.sees``."""
        return not (isinstance(self.source, SyntheticBackgrounds) and self.source.use_rendered_truth)


def find_plates(workspace: Workspace, work: PlateWork, perception: Perception | None = None) -> ShardResult:
    """Find the ground of each background. A background that cannot be a plate becomes a reject.

    Args:
        workspace: The workspace to write to.
        work: The backgrounds.
        perception: Used instead of the work's own models. Those are loaded only if a background needs them.
    """

    def found() -> Iterator[Kept | RefusedSample | Reject]:
        for background, made in _plates(work, perception):
            if not isinstance(made, Reject):
                # Another config may find the same plate again. It is then another work's sample.
                own = replace(made, key=derive_key("plate of", work.digest, made.key))
                yield Kept(encode_plate(own, work.image_format))
            elif background is None:
                yield made
            else:
                yield _refused(background, made)

    return write_with_rejects(workspace, work, "plates", found())


def _plates(
    work: PlateWork, perception: Perception | None
) -> Iterator[tuple[Background | None, Plate | Reject]]:
    """Each background, if it could be read, and its plate or its reject."""
    source = work.source
    if isinstance(source, SyntheticBackgrounds) and source.use_rendered_truth:
        for number in numbers_of(source, work.first, work.count):
            yield (
                synthetic_background(source.renderer, number),
                synthetic_plate(source.renderer, number, work.limits),
            )
        return
    seeing = perception or load_perception(work.perception)
    for background in read_backgrounds(source, work.first, work.count):
        if isinstance(background, Reject):
            yield None, background
        else:
            yield background, _plate(background, work, seeing)


def _refused(background: Background, reject: Reject) -> RefusedSample:
    images = {"image": background.image}
    return RefusedSample(scene=background.scene, split=background.split, reject=reject, images=images)


def _plate(background: Background, work: PlateWork, perception: Perception) -> Plate | Reject:
    return find_plate(
        perception.ground_segmenter,
        perception.depth_estimator,
        work.flatness,
        work.limits,
        scene=background.scene,
        split=background.split,
        origin=background.origin,
        image=background.image,
        focal_px=background.focal_px,
    )


plate_shard = shard_task(find_plates, "find plates", "{work.index}")
