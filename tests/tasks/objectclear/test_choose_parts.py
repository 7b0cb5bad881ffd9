"""Which parts a draw gets."""

import numpy as np

from data_specs.cutout import ShadowClass
from data_specs.reject import Reject, RejectReason
from tasks.objectclear.composite import Parts, choose_parts

CLASSES: list[ShadowClass] = ["left", "right", "left", "none", "none", "none", "towards"]


def test_two_cutouts_always_share_their_light_and_are_two() -> None:
    pairs = 0
    for draw in range(500):
        parts = choose_parts(np.random.default_rng(draw), 4, CLASSES, 0.7)
        if isinstance(parts, Reject):
            assert parts.reason is RejectReason.NO_PARTNER
            assert "right" in parts.detail or "towards" in parts.detail
            continue
        assert 0 <= parts.plate < 4
        if len(parts.cutouts) == 2:
            pairs += 1
            first, second = parts.cutouts
            assert first != second
            assert CLASSES[first] == CLASSES[second]
    assert pairs > 100


def test_the_same_draw_gives_the_same_parts() -> None:
    assert choose_parts(np.random.default_rng(3), 9, CLASSES, 0.5) == choose_parts(
        np.random.default_rng(3), 9, CLASSES, 0.5
    )


def test_cutouts_of_one_class_all_serve() -> None:
    away: list[ShadowClass] = ["away"] * 5
    drawn = [choose_parts(np.random.default_rng(draw), 1, away, 1.0) for draw in range(200)]
    chosen = {number for parts in drawn if isinstance(parts, Parts) for number in parts.cutouts}
    assert chosen == set(range(5))
