"""From the studio: its shots as captured pairs and its empty scenes as plates, all of it exact."""

import numpy as np

from data_specs.arrays import Depth, Region
from data_specs.captured_pair import CapturedPair
from data_specs.keys import Split, derive_key
from data_specs.plate import Plate
from data_specs.reject import Reject
from tasks.objectclear.plate import PlateConfig, make_plate
from tasks.sources.synthetic.lighting import GROUND, Classes
from tasks.sources.synthetic.render import render
from tasks.sources.synthetic.samples import Shot, StudioConfig, empty_scene
from tasks.sources.synthetic.scene import focal_px


def as_captured_pair(shot: Shot, split: Split) -> CapturedPair:
    """A shot as a captured pair; its depth is in metres."""
    return CapturedPair(
        key=shot.key,
        scene=shot.scene,
        split=split,
        origin=shot.origin,
        class_name=shot.class_name,
        source=shot.source,
        ground_truth=shot.ground_truth,
        matte=np.rint(shot.matte * 255).astype(np.uint8),
        effect=shot.effect,
        ground=_ground(shot.classes, len(shot.mask)),
        depth=along_axis(shot.depth, shot.focal_px),
        focal_px=shot.focal_px,
    )


def studio_plate(config: StudioConfig, number: int, limits: PlateConfig) -> Plate | Reject:
    """Plate ``number`` of a config: a scene with nothing on its ground."""
    scene = empty_scene(config, number)
    rendering = render(scene, config.size_px)
    focal = focal_px(scene, config.size_px)
    return make_plate(
        limits,
        scene=derive_key("studio scene", scene.seed, config.world.model_dump_json()),
        split=config.split,
        origin=f"studio plate:{config.split}/{config.seed}/{number}",
        picture=rendering.picture,
        ground=_ground(rendering.classes, config.size_px),
        depth=along_axis(rendering.depth, focal),
        focal_px=focal,
    )


def _ground(classes: Classes, size_px: int) -> Region:
    """S×S bool: True where all of a pixel shows ground."""
    step = len(classes) // size_px
    return (classes == GROUND).reshape(size_px, step, size_px, step).all(axis=(1, 3))


def along_axis(depth: Depth, focal: float) -> Depth:
    """Depth along the view axis from the studio's depth along the ray."""
    steps = (np.arange(len(depth), dtype=np.float32) + 0.5 - len(depth) / 2) / np.float32(focal)
    return (depth / np.sqrt(1 + steps[None, :] ** 2 + steps[:, None] ** 2)).astype(np.float32)
