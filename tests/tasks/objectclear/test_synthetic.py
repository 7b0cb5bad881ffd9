"""The studio's shots and scenes as captured pairs and plates."""

import numpy as np

from data_specs.plate import Plate
from tasks.sources.synthetic.samples import SyntheticSample, as_captured_pair


def test_a_row_of_level_ground_has_one_depth(plates: list[Plate], shots: list[SyntheticSample]) -> None:
    """So an upright camera sees it along its axis; along the rays the sides would be farther."""
    fields = [(plate.depth, plate.ground) for plate in plates]
    pairs = [as_captured_pair(shot, "train") for shot in shots]
    for depth, ground in [*fields, *((pair.depth, pair.ground) for pair in pairs)]:
        for row in np.flatnonzero(ground.sum(axis=1) > 20):
            seen = depth[row][ground[row]]
            assert np.ptp(seen) < 0.01 * seen.mean()


def test_a_pair_keeps_what_the_shot_knows(shots: list[SyntheticSample]) -> None:
    for shot in shots:
        pair = as_captured_pair(shot, "train")
        assert (pair.key, pair.scene, pair.class_name) == (shot.key, shot.scene, shot.class_name)
        assert np.abs(pair.matte / 255 - shot.matte).max() <= 0.5 / 255 + 1e-6
        assert not (pair.ground & (shot.matte > 0)).any()


def test_plates_are_empty_and_their_own(plates: list[Plate]) -> None:
    assert len({plate.key for plate in plates}) == len(plates)
    assert len({plate.scene for plate in plates}) == len(plates)
    for plate in plates:
        # Below the horizon there is ground or wall, and ground reaches the lowest row unbroken.
        assert plate.ground[-1].all()
        assert plate.horizon is not None
        assert not plate.ground[: max(0, int(plate.horizon))].any()
