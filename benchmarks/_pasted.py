"""Paste objects with a soft shadow on the photographs of ``benchmarks/photographs``. The truth is exact."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from data_specs.arrays import RgbImage
from data_specs.triplet import EffectTriplet

FOLDER = Path(__file__).parent / "photographs"
"""Photographs and cut-outs; ``ORIGIN.md`` there names their authors."""
_PRESSED = 0.36
"""Length of a shadow, as a fraction of the object's height."""
_SHADOW_BLUR = 0.035
"""Standard deviation of the shadow's edge, as a fraction of the object's height."""


@dataclass(frozen=True, slots=True)
class Paste:
    """Where an object stands on a photograph."""

    photograph: str
    thing: str
    """Name of the cut-out."""
    foot: tuple[int, int]
    """Column and row of the middle of its lower edge, in pixels."""
    height_px: int
    light_taken: float
    """Greatest fraction of the light that the shadow takes, 0..1."""
    lean: float
    """Columns by which the shadow moves for each of its rows. Negative to the left."""


CHOOSING = (
    Paste("bowl", "seat", (85, 330), 110, 0.5, 0.6),
    Paste("bowl", "cup", (75, 420), 90, 0.6, -0.5),
    Paste("cat", "bowl", (150, 250), 80, 0.4, 0.7),
    Paste("cat", "helmet", (350, 270), 80, 0.5, -0.6),
    Paste("rocket", "seat", (250, 395), 100, 0.6, 0.6),
    Paste("rocket", "bowl", (480, 290), 90, 0.4, 0.5),
    Paste("portrait", "cup", (160, 420), 100, 0.5, 0.6),
    Paste("portrait", "bowl", (300, 190), 90, 0.5, 0.6),
)
"""Settings are chosen on these four photographs only."""
REPORTING = (
    Paste("meadow", "seat", (140, 385), 110, 0.55, 0.7),
    Paste("meadow", "bowl", (330, 340), 70, 0.45, 0.6),
    Paste("meadow", "helmet", (500, 400), 90, 0.6, -0.7),
    Paste("floor", "bowl", (355, 500), 80, 0.5, -0.5),
    Paste("floor", "helmet", (360, 615), 80, 0.55, -0.6),
    Paste("boards", "cup", (330, 210), 80, 0.4, 0.5),
    Paste("boards", "seat", (110, 560), 100, 0.5, 0.5),
    Paste("boards", "bowl", (310, 560), 70, 0.5, -0.5),
    Paste("stream", "helmet", (430, 370), 90, 0.5, 0.6),
    Paste("stream", "seat", (120, 400), 100, 0.5, 0.6),
    Paste("stream", "cup", (570, 220), 70, 0.5, -0.6),
    Paste("mountains", "seat", (470, 420), 100, 0.6, 0.7),
    Paste("mountains", "bowl", (210, 430), 80, 0.5, 0.6),
    Paste("mountains", "helmet", (360, 380), 70, 0.6, -0.6),
    Paste("dandelions", "cup", (420, 330), 80, 0.4, 0.5),
    Paste("dandelions", "seat", (250, 340), 90, 0.4, 0.6),
    Paste("table", "helmet", (90, 370), 80, 0.6, 0.5),
    Paste("table", "bowl", (500, 370), 80, 0.55, -0.6),
    Paste("sunset", "seat", (190, 410), 90, 0.5, 0.7),
    Paste("sunset", "cup", (330, 370), 70, 0.5, 0.6),
)
"""The reported figures come from these 20 images of eight other photographs."""


def pasted(pastes: tuple[Paste, ...]) -> list[EffectTriplet]:
    """A triplet of each. M_fg is every pixel that the object or its shadow changed."""
    return [_triplet(number, paste) for number, paste in enumerate(pastes)]


def _triplet(number: int, paste: Paste) -> EffectTriplet:
    truth = _read(f"{paste.photograph}.jpg")[..., :3]
    cut_out = _read(f"object_{paste.thing}.png")
    scale = paste.height_px / cut_out.shape[0]
    cut_out = np.asarray(cv2.resize(cut_out, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    colours, matte = np.zeros(truth.shape, np.float32), np.zeros(truth.shape[:2], np.float32)
    top, left = paste.foot[1] - cut_out.shape[0], paste.foot[0] - cut_out.shape[1] // 2
    box = np.s_[top : paste.foot[1], left : left + cut_out.shape[1]]
    colours[box], matte[box] = cut_out[..., :3], cut_out[..., 3] / np.float32(255)
    light = 1 - paste.light_taken * _shadow(matte, paste)
    lit = truth * light[..., None]
    source = np.rint(lit * (1 - matte[..., None]) + colours * matte[..., None]).astype(np.uint8)
    mask = matte > 0
    return EffectTriplet(
        key=f"{number:012x}",
        scene=paste.photograph,
        split="test",
        origin=f"pasted:{paste.photograph}/{paste.thing}",
        source=source,
        mask=mask,
        ground_truth=truth,
        foreground=mask | (source != truth).any(axis=2),
    )


def _shadow(matte: NDArray[np.float32], paste: Paste) -> NDArray[np.float32]:
    """The silhouette laid on the ground towards the viewer's side, H×W, 0..1."""
    column, row = paste.foot
    # Rows of the silhouette are pressed together, turned downwards at the foot, and moved by the lean.
    flat = np.array([[1, paste.lean, -paste.lean * row], [0, -_PRESSED, row * (1 + _PRESSED)]])
    height, width = matte.shape
    laid = cv2.warpAffine(matte, flat.astype(np.float32), (width, height))
    contact = np.zeros_like(matte)
    reach = round(paste.height_px * 0.45)
    cv2.ellipse(contact, (column, row - 4), (reach, max(3, reach // 5)), 0, 0, 360, 1.0, -1)
    return np.asarray(
        cv2.GaussianBlur(np.maximum(laid, contact), (0, 0), _SHADOW_BLUR * paste.height_px), np.float32
    )


def _read(name: str) -> RgbImage:
    image = cv2.imread(str(FOLDER / name), cv2.IMREAD_UNCHANGED)
    assert image is not None, name
    return np.asarray(image[..., [2, 1, 0, *range(3, image.shape[2])]], np.uint8)
