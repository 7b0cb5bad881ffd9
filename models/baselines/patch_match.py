"""Fill a mask with patches of its surroundings: PatchMatch (Barnes et al. 2009), without weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import cv2
import numpy as np
import patchmatch

from data_specs.arrays import Mask, RgbImage

_LOCK = Lock()
"""The library keeps one seed for the whole process."""


@dataclass(frozen=True, slots=True)
class PatchMatchFill:
    """A RemovalModel that copies patches from around the mask. Pixels outside the mask stay as they are.

    Coarse levels lay out the fill, finer ones search the best patches at random and let them vote.
    """

    radius_px: int = 3
    """Radius of the compared patches."""
    context: float = 1.0
    """Width of the surroundings that patches come from, divided by the longer side of the mask's box."""
    window_px: int = 640
    """Longer windows than this are filled at reduced size, so that the time is bounded."""

    @property
    def model_hash(self) -> str:
        """Names the method, its version and its settings. There are no weights."""
        return f"patch-match-{patchmatch.__version__}-{self.radius_px}-{self.context:g}-{self.window_px}"

    def remove(
        self, sources: Sequence[RgbImage], masks: Sequence[Mask], seeds: Sequence[int]
    ) -> list[RgbImage]:
        """See ``RemovalModel.remove``. An empty mask changes nothing, and a full one has no surroundings."""
        return [self._filled(*part) for part in zip(sources, masks, seeds, strict=True)]

    def _filled(self, source: RgbImage, mask: Mask, seed: int) -> RgbImage:
        removal = source.copy()
        if not mask.any() or mask.all():
            return removal
        window = self._window(mask)
        part, hole = removal[window], mask[window]
        part[hole] = self._fill(part, hole, seed)[hole]
        return removal

    def _window(self, mask: Mask) -> tuple[slice, slice]:
        """Rows and columns of the mask's box with its surroundings, inside the image."""
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        longer = max(np.ptp(rows), np.ptp(columns)) + 1
        margin = max(_MIN_CONTEXT_PX, round(self.context * longer))
        top, left = max(0, rows[0] - margin), max(0, columns[0] - margin)
        return slice(top, rows[-1] + 1 + margin), slice(left, columns[-1] + 1 + margin)

    def _fill(self, part: RgbImage, hole: Mask, seed: int) -> RgbImage:
        """The window with its hole filled, H×W×3 uint8."""
        height, width = hole.shape
        scale = self.window_px / max(height, width)
        if scale >= 1:
            return _patched(part, hole, self.radius_px, seed)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        # A reduced pixel with any of the object in it is part of the hole.
        small_hole = cv2.resize(hole.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
        small = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)
        filled = _patched(small, small_hole, self.radius_px, seed)
        return np.asarray(cv2.resize(filled, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


_MIN_CONTEXT_PX = 32
"""Surroundings of a small mask. Fewer pixels hold too few patches."""


def _patched(image: RgbImage, hole: Mask, radius_px: int, seed: int) -> RgbImage:
    with _LOCK:
        patchmatch.set_random_seed(seed)
        return patchmatch.inpaint(np.ascontiguousarray(image), hole, patch_size=radius_px)
