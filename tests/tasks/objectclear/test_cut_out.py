"""Cut-outs against the studio: laid on the plate they came from, they give back the capture."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from data_specs.captured_pair import CapturedPair
from data_specs.cutout import Cutout
from data_specs.reject import Reject, RejectReason
from tasks.objectclear.cutout import cut_out
from tasks.objectclear.ground import contact_of, foot_of
from tasks.objectclear.layers import effect_layer, soft_matte
from tasks.sources.image_ops import mask_iou
from tasks.sources.synthetic.samples import SyntheticSample, as_captured_pair


@pytest.fixture(scope="module")
def pairs(shots: list[SyntheticSample]) -> list[CapturedPair]:
    return [as_captured_pair(shot, "train") for shot in shots]


def over(cutout: Cutout, plate: np.ndarray) -> np.ndarray:
    """The formula in the record's docstring, in float64; shares no code with the product's blending."""
    matte = cutout.matte[..., None] / 255
    lit = plate * (1 - cutout.darkening / 255) + cutout.brightening
    return matte * cutout.image + (1 - matte) * np.clip(lit, 0, 255)


def test_a_layer_over_its_own_plate_gives_back_the_capture(pairs: list[CapturedPair]) -> None:
    errors = []
    for pair in pairs:
        cutout = cut_out(pair)
        if isinstance(cutout, Reject):
            continue
        row, column = foot_of(pair.matte >= 128)
        top, left = row - cutout.foot[0], column - cutout.foot[1]
        box = np.s_[top : top + cutout.matte.shape[0], left : left + cutout.matte.shape[1]]
        touched = (pair.effect | (pair.matte > 0))[box]
        apart = np.abs(over(cutout, pair.ground_truth[box].astype(np.float64)) - pair.source[box])
        errors.append(apart[touched].mean())
        outside = (pair.effect | (pair.matte > 0)).copy()
        outside[box] = False
        assert not outside.any()
    assert len(errors) > 30
    assert max(errors) <= 1.0
    assert np.mean(errors) <= 0.2


def test_darkening_is_equation_one_and_brightening_is_kept_apart() -> None:
    ground_truth = np.full((9, 40, 3), 100, np.uint8)
    source = ground_truth.copy()
    source[:, 20:30] = (50, 25, 100)
    source[:, 30:] = (130, 100, 90)
    matte = np.zeros((9, 40), np.uint8)
    matte[:, :3] = 255
    effect = np.zeros((9, 40), bool)
    effect[:, 20:] = True
    darkening, brightening = effect_layer(source, ground_truth, matte, effect)
    assert darkening[4, 25].tolist() == [round(255 * 50 / 101), round(255 * 75 / 101), 0]
    assert darkening[4, 35].tolist() == [0, 0, round(255 * 10 / 101)]
    assert brightening[4, 35].tolist() == [30, 0, 0]
    assert brightening[4, 25].tolist() == [0, 0, 0]
    assert not darkening[:, 10:20].any()


def test_the_shadow_goes_on_under_the_objects_edge() -> None:
    ground_truth = np.full((21, 60, 3), 100, np.uint8)
    source = ground_truth.copy()
    source[:, 30:] = 50
    matte = np.zeros((21, 60), np.uint8)
    matte[:, 20:30] = 255
    effect = np.zeros((21, 60), bool)
    effect[:, 30:] = True
    darkening, _ = effect_layer(source, ground_truth, matte, effect)
    assert abs(int(darkening[10, 29, 0]) - int(darkening[10, 30, 0])) <= 10
    assert not darkening[10, :20].any()


def test_a_soft_matte_is_nearer_the_studios_coverage_than_the_mask(shots: list[SyntheticSample]) -> None:
    soft_errors, hard_errors = [], []
    for shot in shots:
        rim = (shot.matte > 0) & (shot.matte < 1)
        soft = soft_matte(shot.source, shot.ground_truth, shot.mask) / 255
        soft_errors.append(np.abs(soft - shot.matte)[rim].mean())
        hard_errors.append(np.abs(shot.mask - shot.matte)[rim].mean())
        assert np.abs(soft - shot.matte)[~rim].mean() < 0.01
    assert np.mean(soft_errors) < 0.6 * np.mean(hard_errors)


def test_a_soft_matte_keeps_a_true_edge_and_mends_one_that_is_off(shots: list[SyntheticSample]) -> None:
    """Cut at half it is the mask again where that was right, and nearer the truth where it was not."""
    kept, mended, moved = [], [], []
    for shot in shots:
        off = np.roll(shot.mask, 1, axis=1)
        for mask, found in ((shot.mask, kept), (off, mended)):
            found.append(mask_iou(soft_matte(shot.source, shot.ground_truth, mask) >= 128, shot.mask))
        moved.append(mask_iou(off, shot.mask))
    assert np.median(kept) > 0.985
    assert np.median(mended) > np.median(moved) + 0.04


def test_a_soft_matte_tells_a_disc_from_its_mixture() -> None:
    """A blurred mask cannot: it does not know how much of a pixel the disc covers."""
    fine = (np.arange(64 * 16) + 0.5) / 16
    disc = np.hypot(fine[:, None] - 31.3, fine[None, :] - 32.8) < 17.4
    share = disc.reshape(64, 16, 64, 16).mean(axis=(1, 3))
    ground_truth = np.random.default_rng(2).integers(60, 120, (64, 64, 3), np.uint8)
    own = np.array([210, 170, 40])
    source = np.rint(share[..., None] * own + (1 - share[..., None]) * ground_truth).astype(np.uint8)
    rim = (share > 0) & (share < 1)
    error = np.abs(soft_matte(source, ground_truth, share >= 0.5) / 255 - share)[rim].mean()
    blurred = cv2.GaussianBlur((share >= 0.5).astype(np.float32), (0, 0), 0.7)
    assert error < 0.02
    assert error < 0.25 * np.abs(blurred - share)[rim].mean()


def test_the_foot_is_where_the_object_stands() -> None:
    mask = np.zeros((50, 60), bool)
    mask[5:25, 10:50] = True
    mask[25:45, 28:34] = True
    assert foot_of(mask) == (44, 30)
    rows, columns = contact_of(mask)
    assert set(rows.tolist()) == {44}
    assert columns.tolist() == list(range(28, 34))


def changed(pair: CapturedPair, **arrays: np.ndarray) -> CapturedPair:
    return replace(pair, **arrays)


def accepted(pairs: list[CapturedPair]) -> CapturedPair:
    return next(pair for pair in pairs if isinstance(cut_out(pair), Cutout) and pair.effect.any())


def test_what_cannot_be_cut_out_is_refused_by_name(pairs: list[CapturedPair]) -> None:
    pair = accepted(pairs)
    nothing, edge = np.zeros_like(pair.matte), pair.effect.copy()
    edge[:, 0] = True
    cases = [
        (changed(pair, matte=nothing), RejectReason.MASK_EMPTY),
        (changed(pair, effect=edge), RejectReason.CUT_BY_BORDER),
        (changed(pair, ground=np.zeros_like(pair.ground)), RejectReason.EFFECT_OFF_GROUND),
        (changed(pair, depth=np.full_like(pair.depth, np.inf)), RejectReason.NO_SCALE),
        (changed(pair, depth=np.ones_like(pair.depth)), RejectReason.LIGHT_UNTOLD),
    ]
    for case, reason in cases:
        refused = cut_out(case)
        assert isinstance(refused, Reject)
        assert (refused.reason, refused.name) == (reason, pair.origin)


def test_a_pair_of_nine_pixels_is_refused_not_a_crash(pairs: list[CapturedPair]) -> None:
    pair = accepted(pairs)
    tiny = np.s_[:3, :3]
    matte = np.zeros((3, 3), np.uint8)
    matte[1, 1] = 255
    small = changed(
        pair,
        source=pair.source[tiny],
        ground_truth=pair.ground_truth[tiny],
        matte=matte,
        effect=np.zeros((3, 3), bool),
        ground=np.ones((3, 3), bool),
        depth=np.ones((3, 3), np.float32),
    )
    refused = cut_out(small)
    assert isinstance(refused, Reject)
    assert refused.reason is RejectReason.LIGHT_UNTOLD
