"""What differs between a pair's pictures: the object and all it does to its surroundings (fact 11)."""

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from data_specs.arrays import Region
from tasks.sources.regions import disc, drop_small, fill_holes, regions_holding


class DifferenceConfig(BaseModel):
    """From which difference on a pixel has changed. The paper publishes none; OSOR's values are named."""

    model_config = ConfigDict(frozen=True)

    strong: float = Field(
        default=0.07, gt=0, le=2, description="A difference from which change is certain (OSOR: 0.07)."
    )
    weak: float = Field(
        default=0.03, gt=0, le=2, description="Weaker change counts where it hangs together with certain one."
    )
    least_area_share: float = Field(
        default=0.0076, ge=0, le=1, description="Of the picture: smaller regions are dropped (OSOR: 2,000 px)."
    )
    hole_share: float = Field(
        default=0.0019, ge=0, le=1, description="Of the picture: holes up to this are filled (OSOR: 500 px)."
    )


def changed_region(score: NDArray[np.float32], config: DifferenceConfig) -> Region:
    """H×W bool: what changed, from ``tasks.sources.clip_change.change_score``.

    Hysteresis: weak change where it hangs together with strong; then closing, holes filled, crumbs dropped.
    """
    strong = cv2.morphologyEx((score > config.strong).astype(np.uint8), cv2.MORPH_OPEN, disc(1))
    weak = cv2.morphologyEx((score > config.weak).astype(np.uint8), cv2.MORPH_OPEN, disc(1))
    held = regions_holding(cv2.bitwise_or(weak, strong), strong)
    closed = cv2.morphologyEx(held, cv2.MORPH_CLOSE, disc(max(1, round(len(score) / 180))))
    filled = fill_holes(closed, config.hole_share * closed.size)
    return drop_small(filled, config.least_area_share * closed.size)
