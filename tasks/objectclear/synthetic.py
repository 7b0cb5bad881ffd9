"""Use synthetic samples as captured pairs, and empty synthetic scenes as plates, with exact truth."""

import numpy as np

from data_specs.arrays import Region
from data_specs.captured_pair import CapturedPair
from data_specs.keys import Split
from tasks.sources.synthetic.lighting import GROUND, Classes
from tasks.sources.synthetic.samples import SyntheticSample, along_axis


def as_captured_pair(shot: SyntheticSample, split: Split) -> CapturedPair:
    """A synthetic sample as a captured pair. Its depth is in metres."""
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


def _ground(classes: Classes, size_px: int) -> Region:
    """S×S bool: True where the whole pixel shows ground."""
    step = len(classes) // size_px
    return (classes == GROUND).reshape(size_px, step, size_px, step).all(axis=(1, 3))
