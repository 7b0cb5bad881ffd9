"""What tests of several packages share."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

PairWriter = Callable[..., None]


@pytest.fixture(scope="session")
def write_pair() -> PairWriter:
    """Writes ``source/``, ``mask/`` and ``ground_truth/`` of a stem: 48×48, an object of 16×16 px."""

    def write(root: Path, stem: str, seed: int) -> None:
        small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        ground_truth = cv2.resize(small, (48, 48), interpolation=cv2.INTER_CUBIC)
        mask = np.zeros((48, 48), np.uint8)
        mask[16:32, 16:32] = 255
        source = ground_truth.copy()
        source[mask > 0] = (200, 30, 60)
        for part, pixels in (("source", source), ("mask", mask), ("ground_truth", ground_truth)):
            (root / part).mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(root / part / f"{stem}.png"), pixels)

    return write
