"""Fusion against a plain scipy version of fact 19, the à-trous split level by level, and its own promises."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from data_specs.arrays import Alpha, Mask, RgbImage
from data_specs.assessment import QualityConfig
from models.diffusion.inpainting import load_network
from models.images.fusion import (
    FusionForm,
    FusionLengths,
    add_change,
    attended_region,
    blend_weight,
    fused_change,
    low_frequencies,
    scaled_attention,
)
from models.images.tensors import images_to_tensor, tensor_to_images
from tasks.evaluation.success import changed_region, psnr
from tasks.registry.store import BASE_FOLDER
from tasks.sources.synthetic.samples import SyntheticConfig, synthetic_triplets


def fuse(
    source: RgbImage,
    generated: RgbImage,
    weight: Alpha,
    lengths: FusionLengths,
    form: FusionForm = "banded",
) -> RgbImage:
    return add_change(source, fused_change(source, generated, weight, lengths, form))


def soft_image(height: int, width: int, seed: int) -> RgbImage:
    small = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def grainy_image(height: int, width: int, seed: int) -> RgbImage:
    grain = np.random.default_rng(seed).normal(0, 12, (height, width, 3))
    return np.clip(soft_image(height, width, seed) + grain, 0, 255).astype(np.uint8)


def spot(height: int, width: int) -> Mask:
    rows, columns = np.mgrid[:height, :width]
    return ((rows - 0.55 * height) / 0.2) ** 2 + ((columns - 0.3 * width) / 0.1) ** 2 < height**2


def a_trous_low(image: np.ndarray, levels: int) -> np.ndarray:
    """Level by level, with a dilated 3×3 kernel, as the split is defined.

    numpy mirrors the borders: scipy's own mirroring reads beyond images smaller than its kernel.
    """
    low = image.astype(np.float64)
    for level in range(levels):
        step = 2**level
        kernel = np.zeros((2 * step + 1, 2 * step + 1, 1))
        kernel[::step, ::step, 0] = np.outer([1, 2, 1], [1, 2, 1]) / 16
        framed = np.pad(low, ((step, step), (step, step), (0, 0)), mode="symmetric")
        low = ndimage.convolve(framed, kernel, mode="constant")[step:-step, step:-step]
    return low


def ellipse_21() -> np.ndarray:
    """cv2's 21 px ellipse by its formula: each row reaches round(10·√(1 − (row/10)²))."""
    half = np.round(10 * np.sqrt(1 - (np.arange(-10, 11) / 10) ** 2))
    return np.abs(np.arange(-10, 11))[None] <= half[:, None]


def plain_fusion(source: RgbImage, generated: RgbImage, attention: np.ndarray) -> np.ndarray:
    """Fact 19 in float64 over the whole frame; attention heads×h×w whose cells divide the image."""
    mean = attention.astype(np.float64).mean(0)
    above = (mean - mean.min()) / (mean.max() - mean.min()) > 0.5
    cell = source.shape[0] // above.shape[0]
    region = np.kron(above, np.ones((cell, cell), bool))
    wide = ndimage.binary_dilation(region, ellipse_21())
    soft = ndimage.gaussian_filter(wide.astype(np.float64), 2, radius=4)
    weight = np.maximum(soft, region)[..., None]
    low_source, low_generated = a_trous_low(source, 5), a_trous_low(generated, 5)
    outside = source - low_source + low_generated
    return np.clip(np.round(weight * generated + (1 - weight) * outside), 0, 255)


def test_the_papers_form_is_fact_19_within_a_grey_level() -> None:
    source, generated = grainy_image(256, 384, 1), grainy_image(256, 384, 2)
    attention = np.random.default_rng(3).random((5, 16, 24), np.float32)
    attention[:, 5:11, 4:9] += 0.8
    expected = plain_fusion(source, generated, attention)
    lengths = FusionLengths()
    region = attended_region(scaled_attention(attention), 256, 384)
    found = fuse(source, generated, blend_weight(region, lengths), lengths, "paper")
    assert 0.02 < region.mean() < 0.5
    assert np.abs(found - expected).max() <= 1
    assert np.abs(found - expected).mean() < 0.01
    assert np.abs(expected - source).mean() > 5


@settings(max_examples=25, deadline=None)
@given(levels=st.integers(0, 6), height=st.integers(1, 90), width=st.integers(1, 90))
def test_one_triangle_is_the_a_trous_split_to_the_borders(levels: int, height: int, width: int) -> None:
    values = np.random.default_rng(levels).integers(-255, 256, (height, width, 3)).astype(np.float32)
    found = low_frequencies(values, 2**levels)
    np.testing.assert_allclose(found, a_trous_low(values, levels), atol=1e-3)


def test_attention_is_scaled_to_its_own_range() -> None:
    attention = np.stack([np.full((2, 3), 0.1), [[0.1, 0.2, 0.3], [0.4, 0.5, 0.1]]]).astype(np.float32)
    expected = [[0, 0.25, 0.5], [0.75, 1, 0]]
    np.testing.assert_allclose(scaled_attention(attention), expected, atol=1e-6)
    assert not scaled_attention(np.full((4, 2, 2), 0.7, np.float32)).any()
    np.testing.assert_array_equal(
        attended_region(np.array(expected, np.float32), 4, 6),
        np.kron([[0, 0, 0], [1, 1, 0]], np.ones((2, 2))) > 0,
    )


def test_the_banded_form_leaves_the_rest_to_the_bit() -> None:
    source, generated = grainy_image(200, 300, 4), grainy_image(200, 300, 5)
    lengths = FusionLengths(low_px=16, band_px=12)
    weight = blend_weight(spot(200, 300), lengths)
    found = fuse(source, generated, weight, lengths)
    distance = np.asarray(ndimage.distance_transform_edt(weight == 0))
    np.testing.assert_array_equal(found[distance >= 12], source[distance >= 12])
    assert (found != source).any(axis=2)[(distance > 0) & (distance < 11)].mean() > 0.5
    np.testing.assert_array_equal(found[weight == 1], generated[weight == 1])


def test_the_banded_form_is_its_definition_over_the_whole_frame() -> None:
    source, generated = grainy_image(160, 220, 12), grainy_image(160, 220, 13)
    lengths = FusionLengths(low_px=16, band_px=20)
    weight = blend_weight(spot(160, 220), lengths).astype(np.float64)[..., None]
    difference = generated.astype(np.float64) - source
    low = a_trous_low(difference * (1 - weight), 4) / np.maximum(a_trous_low(1 - weight, 4), 1e-9)
    distance = np.asarray(ndimage.distance_transform_edt(weight[..., 0] == 0))
    fade = np.clip(1 - distance / 20, 0, 1)[..., None]
    found = fused_change(source, generated, weight[..., 0].astype(np.float32), lengths)
    expected = weight * difference + (1 - weight) * fade * low
    known = a_trous_low(1 - weight, 4)[..., 0] > 1e-3
    np.testing.assert_allclose(found[known], expected[known], atol=0.02)


def test_the_banded_form_carries_a_colour_cast_to_the_seam_and_no_halo() -> None:
    """The generated image: the object gone, everything 9 levels lighter. Truth outside: the source."""
    ground_truth = soft_image(200, 200, 6) // 2 + 40
    region = spot(200, 200)
    source = np.where(region[..., None], np.uint8(5), ground_truth)
    generated = ground_truth + np.uint8(9)
    lengths = FusionLengths()
    weight = blend_weight(region, lengths)
    distance = np.asarray(ndimage.distance_transform_edt(weight == 0))
    near = (distance > 0) & (distance <= 1.5)
    banded = fused_change(source, generated, weight, lengths)
    np.testing.assert_allclose(banded[near], 9 * (1 - distance[near] / 32)[:, None].repeat(3, 1), atol=0.05)
    paper = fused_change(source, generated, weight, lengths, "paper")
    assert paper[near].mean() > 12, "the paper's form lets the object's own darkness through"


def test_a_box_of_the_image_is_enough() -> None:
    """The same weight in a larger image gives the same change: nothing depends on the frame."""
    source, generated = grainy_image(150, 150, 7), grainy_image(150, 150, 8)
    lengths = FusionLengths.at(128)
    weight = blend_weight(spot(150, 150), lengths)
    frame = ((40, 60), (50, 70))
    large = fused_change(
        np.pad(source, (*frame, (0, 0)), mode="symmetric"),
        np.pad(generated, (*frame, (0, 0)), mode="symmetric"),
        np.pad(weight, frame),
        lengths,
    )
    small = fused_change(source, generated, weight, lengths)
    np.testing.assert_allclose(large[40:190, 50:200], small, atol=1e-3)


def test_an_empty_weight_changes_nothing_and_a_full_one_everything() -> None:
    source, generated = soft_image(40, 50, 9), soft_image(40, 50, 10)
    lengths = FusionLengths.at(40)
    none = blend_weight(np.zeros((40, 50), bool), lengths)
    full = blend_weight(np.ones((40, 50), bool), lengths)
    np.testing.assert_array_equal(fuse(source, generated, none, lengths), source)
    np.testing.assert_array_equal(fuse(source, generated, full, lengths), generated)
    np.testing.assert_array_equal(fuse(source, generated, full, lengths, "paper"), generated)


def test_lengths_keep_their_share_of_the_image() -> None:
    assert FusionLengths.at(512) == FusionLengths()
    assert FusionLengths.at(1024) == FusionLengths(20, 8, 4.0, 64, 64)
    assert FusionLengths.at(64) == FusionLengths(1, 1, 0.25, 4, 4)
    assert FusionLengths.at(1) == FusionLengths(1, 1, 2 / 512, 1, 1)


def test_a_change_is_rounded_and_clipped() -> None:
    source = np.array([[[250, 5, 100]]], np.uint8)
    change = np.array([[[9.0, -9.0, 0.4]]], np.float32)
    assert add_change(source, change).tolist() == [[[255, 0, 100]]]


@pytest.mark.parametrize("form", ["banded", "paper"])
def test_equal_images_stay_equal(form: str) -> None:
    source = grainy_image(64, 64, 11)
    lengths = FusionLengths.at(64)
    np.testing.assert_array_equal(
        fuse(source, source, blend_weight(spot(64, 64), lengths), lengths, form),  # pyright: ignore[reportArgumentType]
        source,
    )


def test_fusion_gives_the_background_back_what_a_codec_took() -> None:
    """A perfect removal through the shipped codec, and a perfect map of 16×16 cells, on studio scenes."""
    vae = load_network(BASE_FOLDER).vae
    lengths = FusionLengths.at(64)
    gains = []
    for triplet in synthetic_triplets(SyntheticConfig(seed=0, split="test", size_px=64), range(8)):
        coded = vae.encode(images_to_tensor([triplet.ground_truth])).latent_dist.mode()
        generated = tensor_to_images(vae.decode(coded).sample)[0]
        region = changed_region(triplet.source, triplet.mask, triplet.ground_truth, QualityConfig())
        shares = cv2.resize(region.astype(np.float32), (16, 16), interpolation=cv2.INTER_AREA)
        cells = np.asarray(shares[None], np.float32)
        weight = blend_weight(attended_region(scaled_attention(cells), 64, 64), lengths)
        fused = fuse(triplet.source, generated, weight, lengths)
        before, after = (psnr(each, triplet.ground_truth, ~region) for each in (generated, fused))
        gains.append(after - before)
    assert np.mean(gains) > 10
    assert min(gains) > 3
