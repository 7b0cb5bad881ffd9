"""Find a plate: a picture's surfaces and depth, the flat ground in them, and so a plate or a reject."""

import numpy as np

from data_specs.arrays import RgbImage
from data_specs.detection import SurfaceClass
from data_specs.keys import Split
from data_specs.plate import Plate
from data_specs.reject import Reject, RejectReason
from models.protocols import DepthEstimator, GroundSegmenter
from tasks.objectclear.flat_ground import FlatGroundConfig, flat_ground
from tasks.objectclear.mirror_agreement import mirror_agreement
from tasks.objectclear.plate_part import PlateConfig, make_plate


def find_plate(
    segmenter: GroundSegmenter,
    estimator: DepthEstimator,
    flatness: FlatGroundConfig,
    limits: PlateConfig,
    *,
    scene: str,
    split: Split,
    origin: str,
    picture: RgbImage,
    focal_px: float,
) -> Plate | Reject:
    """A plate from a picture of which nothing is known.

    Args:
        segmenter: Tells the surfaces.
        estimator: Tells the depth.
        flatness: What counts as flat ground.
        limits: What is asked of a plate.
        scene: Its lineage.
        split: The split of its scene.
        origin: Where it came from, for people.
        picture: H×W×3 uint8.
        focal_px: Focal length in pixels.

    Returns:
        The plate, its depth inf where the segmenter sees sky; or a reject: UNFAMILIAR where the segmenter is
        of two minds, NOT_FLAT where there is enough ground, but too little of it is flat by its depth, or
        whatever ``make_plate`` refuses.
    """
    classes = segmenter.classify(picture)
    agreement = mirror_agreement(segmenter, picture, classes)
    if agreement < limits.least_agreement:
        detail = f"mirrored, {1 - agreement:.1%} of it is taken for another surface"
        return Reject(source="plate", name=origin, reason=RejectReason.UNFAMILIAR, detail=detail)
    depth = np.where(classes == SurfaceClass.SKY, np.float32(np.inf), estimator.estimate(picture))
    ground = flat_ground(classes, depth, focal_px, flatness)
    shown, flat = float((classes == SurfaceClass.GROUND).mean()), float(ground.mean())
    if flat < limits.least_ground_share <= shown:
        detail = f"{shown:.1%} of the picture is ground, {flat:.1%} flat ground"
        return Reject(source="plate", name=origin, reason=RejectReason.NOT_FLAT, detail=detail)
    return make_plate(
        limits,
        scene=scene,
        split=split,
        origin=origin,
        picture=picture,
        ground=ground,
        depth=depth,
        focal_px=focal_px,
    )
