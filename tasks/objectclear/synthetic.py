"""Use synthetic samples as captured pairs, and empty synthetic scenes as plates, with exact truth."""

import numpy as np

from data_specs.arrays import Region
from data_specs.captured_pair import CapturedPair
from data_specs.keys import Split
from tasks.sources.synthetic.lighting import GROUND, Classes
from tasks.sources.synthetic.samples import SyntheticSample, along_axis


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
        ground=_ground(rendered.classes, len(rendered.mask)),
        depth=along_axis(rendered.depth, rendered.focal_px),
        focal_px=rendered.focal_px,
    )


def _ground(classes: Classes, size_px: int) -> Region:
    """S×S bool: True where the whole pixel shows ground."""
    step = len(classes) // size_px
    return (classes == GROUND).reshape(size_px, step, size_px, step).all(axis=(1, 3))
