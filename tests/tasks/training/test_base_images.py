"""What the base learns from: images as they are, and holes that are never empty."""

import numpy as np
import pytest

from data_specs.triplet import Triplet
from tasks.evaluation.evaluate import read_triplets
from tasks.training.base import base_triplet

DRAWS = 600


@pytest.fixture(scope="module")
def triplets(filmed) -> list[Triplet]:
    return read_triplets(filmed.workspace, [filmed.pairs], "train")


def test_every_draw_is_an_image_with_its_objects_and_a_hole(triplets: list[Triplet]) -> None:
    sources = {t.source.tobytes() for t in triplets} | {
        np.ascontiguousarray(t.source[:, ::-1]).tobytes() for t in triplets
    }
    before = [t.source.copy() for t in triplets]
    shares, boxes, own = [], 0, 0
    for draw in range(DRAWS):
        image, hole = base_triplet(triplets, draw, seed=3)
        assert image.tobytes() in sources, "unaltered but for a flip"
        assert (hole.shape, hole.dtype) == ((32, 32), np.bool_)
        assert image.flags.c_contiguous
        assert hole.flags.c_contiguous
        shares.append(hole.mean())
        rows, columns = np.nonzero(hole)
        boxes += hole[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()
        own += any(np.array_equal(image, t.source) and bool((hole >= t.mask).all()) for t in triplets)
    assert min(shares) > 0
    assert max(shares) < 0.7
    assert all(np.array_equal(t.source, source) for t, source in zip(triplets, before, strict=True))
    # A fifth of the draws are boxes (objects and strokes hardly ever fill theirs): 120 ± 4 · 9.8 and some.
    assert 80 < boxes < 190
    assert own > DRAWS * 0.05, "the object's own shape is among the holes"


def test_a_draw_is_its_number_and_seed(triplets: list[Triplet]) -> None:
    first, again, next_one, other = (
        base_triplet(triplets, draw, seed) for draw, seed in ((5, 1), (5, 1), (6, 1), (5, 2))
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    for different in (next_one, other):
        assert not all(np.array_equal(a, b) for a, b in zip(first, different, strict=True))
