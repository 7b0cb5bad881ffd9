"""The remover's loss against the formula written out in numpy."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from models.diffusion.inpainting import InpaintingNetwork
from models.images.tensors import images_to_tensor, masks_to_tensor
from models.training.distributed import BatchSlice
from models.training.losses.remover import RemoverLossConfig, TripletBatch, remover_loss

SIDE, PATCH = 32, 4


@pytest.fixture
def batch(images, boxes) -> TripletBatch:
    """Three triplets that differ inside the mask, and in a shadow below it."""
    truths, masks = images(3, 7), boxes(3)
    sources = [t.copy() for t in truths]
    for source, mask in zip(sources, masks, strict=True):
        source[mask] = 255 - source[mask]
        source[26:30, 4:24] //= 2
    return TripletBatch(
        source=images_to_tensor(sources),
        mask=masks_to_tensor(masks),
        ground_truth=images_to_tensor(truths),
    )


def latent_of(network: InpaintingNetwork, images: torch.Tensor) -> np.ndarray:
    """Patch by patch, the codec's matrix times the patch less the mean, in loops."""
    mean, analysis = network.vae.mean.numpy(), network.vae.analysis.numpy()
    values = images.numpy()
    count, cells = len(values), SIDE // PATCH
    latent = np.zeros((count, len(analysis), cells, cells), np.float32)
    for b, row, column in np.ndindex(count, cells, cells):
        top, left = row * PATCH, column * PATCH
        patch = values[b, :, top : top + PATCH, left : left + PATCH].reshape(-1)
        latent[b, :, row, column] = analysis @ (patch - mean)
    return latent


def unet_input(network: InpaintingNetwork, run: Callable[[], object]) -> tuple[torch.Tensor, torch.Tensor]:
    """What ``run`` feeds the U-Net: sample and timesteps."""
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    hook = network.unet.register_forward_pre_hook(lambda _module, given: seen.append(given[:2]))
    run()
    hook.remove()
    (only,) = seen
    return only


def loss(
    network: InpaintingNetwork, batch: TripletBatch, config: RemoverLossConfig | None = None, seed: int = 5
) -> torch.Tensor:
    batch_slice = BatchSlice(torch.Generator().manual_seed(seed))
    return remover_loss(network, batch, config or RemoverLossConfig(), batch_slice)


@pytest.mark.parametrize("prediction_type", ["sample", "epsilon"])
@pytest.mark.parametrize("change_weight", [1.0, 5.0])
def test_the_loss_is_the_formula(
    build_network, batch: TripletBatch, prediction_type: str, change_weight: float
) -> None:
    network = build_network(prediction_type=prediction_type)
    found = loss(network, batch, RemoverLossConfig(change_weight=change_weight))
    inputs, steps = unet_input(network, lambda: loss(network, batch))

    clean, source = latent_of(network, batch.ground_truth), latent_of(network, batch.source)
    masked = latent_of(network, batch.source * (1 - batch.mask))
    small_mask = batch.mask.numpy()[:, :, ::PATCH, ::PATCH]
    noisy = inputs[:, :4].numpy()
    np.testing.assert_allclose(inputs[:, 4:5].numpy(), small_mask)
    np.testing.assert_allclose(inputs[:, 5:].numpy(), masked, atol=1e-4)
    # alpha_bar from the scaled-linear betas; the noise follows from what the U-Net saw.
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    kept = np.cumprod(1 - betas)[steps.numpy()][:, None, None, None]
    noise = (noisy - np.sqrt(kept) * clean) / np.sqrt(1 - kept)
    assert abs(noise.mean()) < 0.1
    assert abs(noise.std() - 1) < 0.1

    with torch.no_grad():
        hidden, added = network.condition(3, SIDE, SIDE)
        predicted = network.unet(inputs, steps, hidden, added_cond_kwargs=added).sample.numpy()
    error = ((predicted - (clean if prediction_type == "sample" else noise)) ** 2).mean(1)
    weight = np.ones_like(error)
    for b, row, column in np.ndindex(weight.shape):
        cell = batch.mask[b, 0, row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH]
        changed = np.abs(source - clean)[b, :, row, column].max() > 0.1
        if bool(cell.any()) or changed:
            weight[b, row, column] = change_weight
    assert 0 < (weight != 1).mean() < 0.7 or change_weight == 1
    np.testing.assert_allclose(found.item(), (error * weight).sum() / weight.sum(), rtol=1e-3)


def test_the_source_inside_the_mask_never_reaches_the_network(build_network, batch: TripletBatch) -> None:
    network = build_network()
    painted = torch.where(batch.mask > 0, torch.full_like(batch.source, 0.9), batch.source)
    other = TripletBatch(source=painted, mask=batch.mask, ground_truth=batch.ground_truth)
    assert torch.equal(*(unet_input(network, lambda b=b: loss(network, b))[0] for b in (batch, other)))
    assert loss(network, batch) == loss(network, other)
    outside = TripletBatch(source=-batch.source, mask=batch.mask, ground_truth=batch.ground_truth)
    assert loss(network, batch) != loss(network, outside)


def test_all_randomness_is_the_shares(build_network, batch: TripletBatch) -> None:
    network = build_network()
    torch.manual_seed(1)
    first = loss(network, batch)
    torch.manual_seed(2)
    assert loss(network, batch) == first
    assert loss(network, batch, seed=6) != first


def test_the_noisy_share_draws_the_noisiest_timesteps(build_network, batch: TripletBatch) -> None:
    network = build_network()
    repeated = TripletBatch(
        *(getattr(batch, name).repeat(40, 1, 1, 1) for name in ("source", "mask", "ground_truth"))
    )

    def steps(batch_slice: float) -> torch.Tensor:
        config = RemoverLossConfig(noisy_fraction=batch_slice)
        with torch.no_grad():
            return unet_input(network, lambda: loss(network, repeated, config))[1]

    uniform, half, noisy = (steps(batch_slice) for batch_slice in (0.0, 0.5, 1.0))
    assert noisy.min() >= 600
    # 120 draws: the share at 600 or above is 0.4, 0.7 and 1, each within 4 standard errors.
    assert abs((uniform >= 600).float().mean() - 0.4) < 0.18
    assert abs((half >= 600).float().mean() - 0.7) < 0.17


def test_only_the_unet_gets_a_gradient(build_network, batch: TripletBatch) -> None:
    network = build_network()
    loss(network, batch).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.unet.parameters())
    assert all(p.grad is None for p in network.vae.parameters())
