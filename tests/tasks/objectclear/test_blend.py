"""Blending as a property of any layers, against a second implementation in float64, pixel by pixel."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tasks.objectclear.blend import Layer, blend, visible_masks

HEIGHT, WIDTH = 12, 14
# Half the pixels of real layers are empty or full; drawn bytes alone would hardly ever be.
BYTES = st.one_of(st.just(0), st.just(255), st.integers(0, 255))


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    height, width = draw(st.integers(1, HEIGHT)), draw(st.integers(1, WIDTH))
    matte = draw(hnp.arrays(np.uint8, (height, width), elements=BYTES))
    own = draw(hnp.arrays(np.uint8, (height, width, 3)))
    effects = hnp.arrays(np.uint8, (height, width, 3), elements=BYTES)
    return Layer(
        top=draw(st.integers(0, HEIGHT - height)),
        left=draw(st.integers(0, WIDTH - width)),
        colour=np.rint(own * (matte[..., None] / 255)).astype(np.uint8),
        matte=matte,
        darkening=draw(effects),
        brightening=draw(effects),
    )


PLATES = hnp.arrays(np.uint8, (HEIGHT, WIDTH, 3))


@given(PLATES, st.lists(layers(), min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
def test_removing_any_layer_changes_nothing_outside_its_foreground(
    plate: np.ndarray, drawn: list[Layer]
) -> None:
    source = blend(plate, drawn)
    touched = np.zeros((HEIGHT, WIDTH), bool)
    for number, (mask, foreground) in enumerate(visible_masks(drawn, (HEIGHT, WIDTH))):
        ground_truth = blend(plate, drawn[:number] + drawn[number + 1 :])
        assert np.array_equal(source[~foreground], ground_truth[~foreground])
        assert not (mask & ~foreground).any()
        touched |= foreground
    assert np.array_equal(source[~touched], plate[~touched])
    assert np.array_equal(blend(plate, []), plate)


@given(PLATES, layers())
@settings(max_examples=100, deadline=None)
def test_one_layer_is_the_formula(plate: np.ndarray, layer: Layer) -> None:
    expected = plate.astype(np.float64)
    share = layer.matte[..., None] / 255
    lit = expected[layer.window] * (1 - layer.darkening / 255) + layer.brightening
    expected[layer.window] = layer.colour + (1 - share) * np.minimum(lit, 255)
    # Three roundings to whole levels, each of half a level at most, and the last sum may saturate.
    assert np.abs(blend(plate, [layer]) - np.clip(expected, 0, 255)).max() <= 1.51


def one(darkening: int, matte: int = 0, colour: int = 0) -> Layer:
    def full(value: int) -> np.ndarray:
        return np.full((4, 4, 3), value, np.uint8)

    return Layer(0, 0, full(colour), np.full((4, 4), matte, np.uint8), full(darkening), full(0))


PALE = np.full((4, 4, 3), 200, np.uint8)


def test_two_shadows_of_one_sun_are_no_darker_than_the_deeper() -> None:
    assert np.abs(blend(PALE, [one(100), one(60)]) - blend(PALE, [one(100)]).astype(int)).max() <= 1
    assert np.abs(blend(PALE, [one(60), one(100)]) - blend(PALE, [one(100)]).astype(int)).max() <= 1


def test_a_shadow_falls_on_the_object_behind_it_but_not_on_the_one_before_it() -> None:
    behind = one(0, matte=255, colour=150)
    assert blend(PALE, [behind, one(102)])[0, 0, 0] == 90
    assert blend(PALE, [one(102), behind])[0, 0, 0] == 150
    # What was taken from the plate was not taken from the object that now covers it.
    assert blend(PALE, [one(102), behind, one(102)])[0, 0, 0] == 90


def test_a_hidden_object_is_in_no_mask_where_it_is_hidden() -> None:
    far, near = one(80, matte=255, colour=10), one(0, matte=255, colour=20)
    (mask, foreground), (over, _) = visible_masks([far, near], (6, 6))
    assert not mask.any()
    assert not foreground.any()
    assert over.sum() == 16
