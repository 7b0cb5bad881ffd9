"""Each check of a place, on a flat plate made by hand."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from data_specs.cutout import Cutout
from data_specs.plate import Plate
from data_specs.reject import Reject, RejectReason
from tasks.objectclear.blend import scaled_layer, tone_of
from tasks.objectclear.composite import ComposeConfig, compose
from tasks.objectclear.ground import depression
from tasks.objectclear.placement import Placed, PlacementConfig, place, placement_conflict, scale_at


def a_cutout(height: int = 30, width: int = 20, foot_depth: float = 4.0, shadow: int = 0) -> Cutout:
    """A box with a shadow of so many pixels to its right, captured as the flat plate's row 140 is seen."""
    wide = width + shadow
    matte = np.zeros((height, wide), np.uint8)
    matte[:, :width] = 255
    darkening = np.zeros((height, wide, 3), np.uint8)
    darkening[-3:, width:] = 100
    image = np.zeros((height, wide, 3), np.uint8)
    image[matte > 0] = (200, 60, 40)
    return Cutout(
        key=f"box {height} {width} {shadow}",
        scene="box",
        split="train",
        origin="a box",
        class_name="box",
        image=image,
        matte=matte,
        darkening=darkening,
        brightening=np.zeros_like(darkening),
        foot=(height - 1, width // 2),
        foot_depth=foot_depth,
        focal_px=240.0,
        depression=depression(140, 40.0, 240.0, 200),
        bearing=0.0,
        shadow_class="right" if shadow else "none",
        tone=tone_of(np.full((8, 8, 3), 128, np.uint8)),
    )


def failures(plate: Plate, cutout: Cutout, config: PlacementConfig | None = None) -> Counter[RejectReason]:
    found = place(plate, cutout, [], config or PlacementConfig(), np.random.default_rng(0))
    assert isinstance(found, Counter)
    assert found.total() == (config or PlacementConfig()).tries
    return found


def standing(plate: Plate, cutout: Cutout, row: int, column: int) -> Placed:
    layer = scaled_layer(cutout, 1, (row, column))
    assert layer is not None
    return Placed(cutout, layer, (row, column), 1.0, float(plate.depth[row, column]))


def test_size_follows_depth(flat_plate: Plate) -> None:
    """Depth at row r is 400 / (r − 40): a thing captured at 4 has its own size at row 140, half at row 90."""
    assert scale_at(flat_plate, a_cutout(), (140, 50)) == pytest.approx(1)
    assert scale_at(flat_plate, a_cutout(), (90, 50)) == pytest.approx(0.5)


def test_a_place_is_found_where_there_is_one(flat_plate: Plate) -> None:
    found = place(flat_plate, a_cutout(), [], PlacementConfig(), np.random.default_rng(0))
    assert isinstance(found, Placed)
    mask = np.zeros(flat_plate.ground.shape, bool)
    mask[found.layer.window] = found.layer.mask
    assert np.flatnonzero(mask.any(axis=1))[-1] == found.foot[0]
    assert flat_plate.ground[found.foot]


@pytest.mark.parametrize(
    ("cutout", "expected"),
    [
        (a_cutout(foot_depth=400.0), RejectReason.LARGER_THAN_PLATE),
        (a_cutout(foot_depth=11.0), RejectReason.ENLARGED),
        (a_cutout(foot_depth=0.5), RejectReason.TOO_FAR),
        (replace(a_cutout(height=60, foot_depth=2.5), depression=1.2), RejectReason.OTHER_VIEW),
        (replace(a_cutout(height=60, foot_depth=2.5), bearing=1.2), RejectReason.OTHER_VIEW),
    ],
)
def test_what_cannot_stand_anywhere_is_refused_by_name(
    flat_plate: Plate, cutout: Cutout, expected: RejectReason
) -> None:
    assert failures(flat_plate, cutout).most_common(1)[0][0] == expected


@pytest.mark.parametrize(
    ("columns", "cutout", "expected"),
    [
        (slice(0, 240), a_cutout(width=238), RejectReason.OVER_BORDER),
        (slice(0, 10), a_cutout(), RejectReason.OVER_BORDER),
        (slice(100, 110), a_cutout(), RejectReason.OFF_GROUND),
        (slice(100, 125), a_cutout(shadow=30), RejectReason.EFFECT_OFF_GROUND),
    ],
)
def test_border_and_ground(flat_plate: Plate, columns: slice, cutout: Cutout, expected: RejectReason) -> None:
    """Ground on row 140 alone, where a cut-out keeps its size."""
    strip = np.zeros_like(flat_plate.ground)
    strip[140, columns] = True
    failed = failures(replace(flat_plate, ground=strip), cutout, PlacementConfig(lean_degrees=90))
    assert failed[expected] > 0
    assert set(failed) <= {expected, RejectReason.OFF_GROUND}


def test_nothing_of_the_plate_may_stand_before_it(flat_plate: Plate) -> None:
    near = np.minimum(flat_plate.depth, 60.0).astype(np.float32)
    near[50:132] = 1.0
    ground = np.zeros_like(flat_plate.ground)
    ground[133:] = True
    seen = failures(
        replace(flat_plate, depth=near, ground=ground), a_cutout(), PlacementConfig(view_degrees=5)
    )
    assert seen[RejectReason.HIDDEN] > 0


def test_neighbours_neither_meet_nor_hide_nor_shade(flat_plate: Plate) -> None:
    first = standing(flat_plate, a_cutout(shadow=40), 140, 80)
    cases = [
        (standing(flat_plate, a_cutout(), 140, 85), RejectReason.OVERLAP),
        (standing(flat_plate, a_cutout(height=90), 170, 82), RejectReason.OVERLAP),
        (standing(flat_plate, a_cutout(), 140, 115), RejectReason.IN_SHADOW),
        (standing(flat_plate, a_cutout(), 140, 190), None),
        (standing(flat_plate, a_cutout(), 170, 20), None),
    ]
    for other, expected in cases:
        assert placement_conflict(other, [first], flat_plate, 0.4) == expected
        if expected is not RejectReason.IN_SHADOW:
            assert placement_conflict(first, [other], flat_plate, 0.4) == expected


def test_a_refused_draw_says_what_was_tried(flat_plate: Plate) -> None:
    refused = compose(ComposeConfig(), 3, flat_plate, [a_cutout(height=400)])
    assert isinstance(refused, Reject)
    assert refused.reason is RejectReason.LARGER_THAN_PLATE
    assert "draw 3" in refused.name
    assert "× cut-out is larger than the plate" in refused.detail


def test_two_of_a_kind_share_a_plate(flat_plate: Plate) -> None:
    composites = compose(ComposeConfig(), 1, flat_plate, [a_cutout(), a_cutout(height=26)])
    assert isinstance(composites, list)
    assert len(composites) == 2
    assert composites[0].removed == 0
    assert flat_plate.depth[composites[0].objects[0].foot] >= flat_plate.depth[composites[0].objects[1].foot]
