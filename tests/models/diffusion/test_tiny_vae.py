"""The patch codec against numpy's singular value decomposition."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.diffusion.tiny_vae import PatchCodec

PATCH, KEPT = 4, 6


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Smooth random images with a little grain, 12×3×32×32 in [-1, 1]."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(12, 3, 5, 5, generator=generator) * 2 - 1
    smooth = torch.nn.functional.interpolate(coarse, size=32, mode="bicubic")
    return (smooth + 0.05 * torch.randn(smooth.shape, generator=generator)).clamp(-1, 1)


@pytest.fixture(scope="module")
def codec(images: Tensor) -> PatchCodec:
    return PatchCodec(latent_channels=KEPT, patch=PATCH).fit(images)


def encode(codec: PatchCodec, images: Tensor) -> Tensor:
    return codec.encode(images).latent_dist.mode()  # type: ignore[union-attr]


def decode(codec: PatchCodec, latents: Tensor) -> Tensor:
    return codec.decode(latents).sample  # type: ignore[union-attr]


def patch_rows(images: Tensor) -> NDArray[np.float64]:
    """Patches cut by hand, N×48."""
    grid = images.double().numpy()
    return np.stack(
        [
            image[:, top : top + PATCH, left : left + PATCH].ravel()
            for image in grid
            for top in range(0, 32, PATCH)
            for left in range(0, 32, PATCH)
        ]
    )


def test_decoding_the_code_is_the_svds_reconstruction(codec: PatchCodec, images: Tensor) -> None:
    rows = patch_rows(images)
    mean = rows.mean(0)
    _, _, axes = np.linalg.svd(rows - mean, full_matrices=False)
    expected = mean + (rows - mean) @ axes[:KEPT].T @ axes[:KEPT]
    got = patch_rows(decode(codec, encode(codec, images)))
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_no_other_linear_code_of_that_size_loses_less(codec: PatchCodec, images: Tensor) -> None:
    rows = patch_rows(images)
    centred = rows - rows.mean(0)
    ours = np.mean((patch_rows(decode(codec, encode(codec, images))) - rows) ** 2)
    rng = np.random.default_rng(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    others = [rng.normal(size=(KEPT, 48)) for _ in range(20)]
    # Not only wild guesses: the best code's own axes, a little turned, and another choice of them.
    others += [axes[:KEPT] + 0.05 * rng.normal(size=(KEPT, 48)), axes[1 : KEPT + 1]]
    for other in others:
        basis = np.linalg.qr(other.T)[0]
        assert np.mean((centred @ basis @ basis.T - centred) ** 2) > ours


def test_encoding_what_was_decoded_gives_the_latent_back(codec: PatchCodec) -> None:
    latents = torch.randn(2, KEPT, 8, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(encode(codec, decode(codec, latents)), latents, atol=1e-4, rtol=1e-4)


def test_shapes_and_scale_are_as_said(codec: PatchCodec, images: Tensor) -> None:
    latents = encode(codec, images)
    assert latents.shape == (12, KEPT, 8, 8)
    spread = latents.std(dim=(0, 2, 3))
    assert spread[0] == pytest.approx(1, abs=0.02)
    assert (spread.diff() <= 1e-4).all(), "the leading component comes first"
    assert torch.equal(codec.encode(images).latent_dist.sample(), latents), "no noise"  # type: ignore[union-attr]


def test_a_saved_codec_codes_alike(codec: PatchCodec, images: Tensor, tmp_path: Path) -> None:
    codec.save_pretrained(tmp_path)
    assert [path.suffix for path in tmp_path.iterdir() if path.suffix != ".json"] == [".safetensors"]
    again = PatchCodec.from_pretrained(tmp_path)
    torch.testing.assert_close(encode(again, images), encode(codec, images), atol=0, rtol=0)
