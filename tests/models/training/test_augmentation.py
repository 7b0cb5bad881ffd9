"""ObjectClear's augmentation (papers.md, fact 18): shares, kernels, crops and colours."""

import colorsys
from itertools import pairwise

import cv2
import numpy as np
import pytest

from models.training.augmentation import (
    ForegroundPair,
    augmented,
    jittered,
    max_kernel,
    reshaped_mask,
    sloppy_mask,
)


def box(side: int, height: int, width: int) -> np.ndarray:
    mask = np.zeros((side, side), bool)
    mask[side // 4 : side // 4 + height, side // 4 : side // 4 + width] = True
    return mask


@pytest.mark.parametrize(
    ("share", "kernel"),
    [(0.004, 5), (0.019, 8), (0.049, 12), (0.099, 17), (0.24, 23), (0.26, 30), (1.0, 30)],
)
def test_the_kernel_follows_the_papers_table(share: float, kernel: int) -> None:
    mask = np.zeros(512 * 512, bool)
    mask[: int(share * mask.size)] = True
    assert max_kernel(mask.reshape(512, 512)) == kernel
    small = np.zeros(64 * 64, bool)
    small[: int(share * small.size)] = True
    assert max_kernel(small.reshape(64, 64)) == max(1, round(kernel / 8))


def test_masks_are_dilated_and_eroded_as_often_as_the_paper_says() -> None:
    """Of 512 px masks with kernels 1..17; a kernel of 1 (1 in 17) changes nothing."""
    mask = box(512, 150, 150)
    rng = np.random.default_rng(0)
    sides = [round(np.sqrt(reshaped_mask(mask, rng).sum())) - 150 for _ in range(3000)]
    drawn = np.array(sides)
    assert drawn.max() == 16
    assert drawn.min() == -16
    assert (drawn > 0).mean() == pytest.approx(0.67 * 16 / 17, abs=0.03)
    assert (drawn < 0).mean() == pytest.approx(0.165 * 16 / 17, abs=0.03)
    counts = np.bincount(drawn[drawn > 0], minlength=17)[1:]
    assert counts.min() > 0.5 * counts.mean(), "kernel sides are drawn evenly"


def test_a_speck_is_not_eroded_away() -> None:
    mask = np.zeros((512, 512), bool)
    mask[100:102, 100:102] = True
    rng = np.random.default_rng(0)
    assert all(reshaped_mask(mask, rng).any() for _ in range(300))


def test_crops_hold_the_centroid_and_come_out_square() -> None:
    """The images tell their own columns, so a crop's place and scale can be read off them."""
    height, width, size = 90, 120, 64
    columns = np.broadcast_to(np.arange(width, dtype=np.uint8), (height, width))
    rows = np.broadcast_to(np.arange(height, dtype=np.uint8)[:, None], (height, width))
    image = np.stack([columns, rows, rows], axis=2)
    mask = np.zeros((height, width), bool)
    mask[80:88, 4:10] = True
    foreground = mask.copy()
    foreground[80:88, 10:30] = True
    spans, flips = [], 0
    for seed in range(200):
        pair = ForegroundPair(image, image, mask, foreground)
        found = augmented(pair, size, np.random.default_rng(seed))
        assert found.source.shape == (size, size, 3)
        assert found.mask.any(), "the centroid is inside"
        assert np.array_equal(found.source, found.ground_truth)
        inner = found.foreground.sum(0) > 0
        assert inner.any()
        flips += int(np.argmax(inner) > size // 2)
        spans.append(int(found.foreground.sum(1).max()))
    assert 60 < flips < 140, "the object is at the left; half the images are flipped"
    assert min(spans) < 26 * 64 / 85, "some crops are the short side, 90 px"
    assert max(spans) >= 20, "some are 64 px"


def hsv(image: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = (image.reshape(-1, 3)[0] / 255).tolist()
    return colorsys.rgb_to_hsv(red, green, blue)


def test_colours_move_within_the_papers_ranges() -> None:
    flat = np.full((8, 8, 3), (140, 70, 60), np.uint8)
    hue = hsv(flat)[0]
    turns = []
    for seed in range(300):
        found, _ = jittered((flat, flat), np.random.default_rng(seed))
        turn = (hsv(found)[0] - hue + 0.5) % 1 - 0.5
        turns.append(turn)
    assert max(abs(t) for t in turns) <= 15 / 256 + 0.01
    assert max(turns) > 0.045
    assert min(turns) < -0.045


def test_what_is_equal_in_both_images_stays_equal() -> None:
    noise = np.random.default_rng(1).integers(30, 220, (9, 9, 3), np.uint8)
    truth = np.asarray(cv2.resize(noise, (64, 64)), np.uint8)
    source = truth.copy()
    source[20:40, 20:40] = (250, 10, 10)
    for seed in range(20):
        first, second = jittered((source, truth), np.random.default_rng(seed))
        off = np.ones((64, 64), bool)
        off[20:40, 20:40] = False
        assert np.array_equal(first[off], second[off])
        assert not np.array_equal(first, source)


def test_one_seed_one_variant() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (80, 80, 3), np.uint8)
    pair = ForegroundPair(noise, noise, box(80, 20, 20), box(80, 20, 30))
    variants = [augmented(pair, 64, np.random.default_rng(seed)).source for seed in (1, 1, 2, 3)]
    assert np.array_equal(variants[0], variants[1])
    assert not any(np.array_equal(a, b) for a, b in pairwise(variants[1:]))


def test_sloppy_masks_are_moved_cut_and_reshaped_visibly() -> None:
    """At 64 px, where the paper's kernel is 1 px for this mask and changes nothing."""
    mask = np.zeros((64, 64), bool)
    mask[30:40, 20:28] = True
    assert max_kernel(mask) == 1
    rng = np.random.default_rng(0)
    assert all(np.array_equal(reshaped_mask(mask, rng), mask) for _ in range(50))
    made = [sloppy_mask(mask, rng) for _ in range(2000)]
    assert all(one.any() for one in made)
    tops = [np.flatnonzero(one.any(1))[0] for one in made]
    assert min(tops) == 30 - 2 - 3, "dilated by half of 5 px and moved by 3"
    boxes = [one[np.ix_(one.any(1), one.any(0))] for one in made]
    whole = np.array([box.all() for box in boxes])
    assert 0.1 < 1 - whole.mean() < 0.2, "a cut leaves no rectangle, but some cuts are straight"
    shares = np.array([one.sum() / mask.sum() for one in made])
    assert (shares > 1).mean() > 0.5
    assert shares.min() < 0.4
    unmoved = np.array([(one & mask).sum() == min(one.sum(), mask.sum()) for one in made])
    assert 0.6 < unmoved.mean() < 1, "dilated masks hold the object even when moved a little"


def test_only_the_mask_of_a_pair_is_sloppy() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    pair = ForegroundPair(noise, noise, box(64, 20, 20), box(64, 20, 30))
    changed = 0
    for seed in range(20):
        plain, sloppy = (augmented(pair, 64, np.random.default_rng(seed), on) for on in (False, True))
        assert np.array_equal(plain.source, sloppy.source)
        assert np.array_equal(plain.ground_truth, sloppy.ground_truth)
        assert np.array_equal(plain.foreground, sloppy.foreground)
        changed += not np.array_equal(plain.mask, sloppy.mask)
    assert changed > 15


def test_an_object_at_the_border_is_never_moved_out() -> None:
    speck = np.zeros((64, 64), bool)
    speck[0, 63] = True
    rng = np.random.default_rng(0)
    assert all(sloppy_mask(speck, rng).any() for _ in range(500))
