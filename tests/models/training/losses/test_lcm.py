"""Distillation's loss against Gaussian images, whose every jump and path is known in closed form."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_lcm import LCMScheduler

from models.diffusion.inpainting import InpaintingNetwork
from models.images.tensors import images_to_tensor, masks_to_tensor
from models.rorem.lcm_lora import LcmLoraConfig, lcm_schedule, student_of
from models.training.distributed import BatchSlice
from models.training.loop import TrainingConfig, train
from models.training.losses.lcm import (
    LcmLossConfig,
    boundary_scalings,
    consistency_loss,
    lcm_loss,
    parts_of,
)
from models.training.losses.remover import Denoising, TripletBatch

SPREAD = 0.7
"""Of the Gaussian that clean latents come from."""
UNGUIDED = LcmLossConfig(guidance_low=0, guidance_high=0)


def kept_of(steps: np.ndarray) -> np.ndarray:
    """Share of variance left, from the scaled-linear betas."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    return np.cumprod(1 - betas)[steps]


def posterior_mean(latent: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """E[clean | noisy] of the Gaussian: what a perfect teacher predicts."""
    kept = torch.from_numpy(kept_of(steps.numpy())).float()[:, None, None, None]
    return latent * kept.sqrt() * SPREAD**2 / (kept * SPREAD**2 + 1 - kept)


def path_end(latent: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """Where the deterministic path through ``latent`` ends: the ratio to the marginal spread stays."""
    kept = torch.from_numpy(kept_of(steps.numpy())).float()[:, None, None, None]
    return latent * SPREAD / (kept * SPREAD**2 + 1 - kept).sqrt()


def unet(restored: Any, schedule: Any) -> Any:
    """A U-Net whose prediction makes ``restored`` of what it is given."""

    def forward(inputs: torch.Tensor, steps: torch.Tensor, *_: Any, **__: Any) -> SimpleNamespace:
        latent = inputs[:, :2]
        clean = restored(latent, steps)
        if schedule.config["prediction_type"] == "sample":
            return SimpleNamespace(sample=clean)
        kept = torch.from_numpy(kept_of(steps.numpy())).float()[:, None, None, None]
        return SimpleNamespace(sample=(latent - kept.sqrt() * clean) / (1 - kept).sqrt())

    return forward


@pytest.fixture(params=["sample", "epsilon"])
def schedule(request: pytest.FixtureRequest) -> LCMScheduler:
    """LCM's own class stands in for any: noise levels, and what is predicted."""
    return LCMScheduler(prediction_type=request.param)


def gaussian_loss(
    schedule: Any, student: Any, config: LcmLossConfig = UNGUIDED, seed: int = 3, teacher: Any = None
) -> float:
    """The loss of 256 Gaussian latents, with a perfect teacher if no other is given."""
    clean = SPREAD * torch.randn(256, 2, 4, 4, generator=torch.Generator().manual_seed(9))
    task = Denoising(clean, torch.zeros(256, 3, 4, 4), torch.zeros(256, 1, 16, 16), torch.ones(256, 1, 4, 4))
    guide = SimpleNamespace(unet=teacher or unet(posterior_mean, schedule), scheduler=schedule)
    condition = (torch.zeros(256, 1, 1), {"text_embeds": torch.zeros(256, 1)})
    batch_slice = BatchSlice(torch.Generator().manual_seed(seed))
    return consistency_loss(guide, student, task, condition, config, batch_slice).item()  # pyright: ignore[reportArgumentType]


def test_a_jump_from_timestep_nought_is_where_it_stands() -> None:
    skip, out = boundary_scalings(torch.tensor([0, 1, 19, 999]))
    assert (skip[0].item(), out[0].item()) == (1, 0)
    theirs = [LCMScheduler().get_scalings_for_boundary_condition_discrete(t) for t in (0, 1, 19, 999)]
    np.testing.assert_allclose(skip.flatten().numpy(), [float(each[0]) for each in theirs], rtol=1e-6)
    np.testing.assert_allclose(out.flatten().numpy(), [float(each[1]) for each in theirs], rtol=1e-6)


def test_a_prediction_is_taken_apart_into_what_was_mixed(schedule: LCMScheduler) -> None:
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 5, 2, 4, 4, generator=generator)
    steps = torch.tensor([0, 19, 400, 700, 999])
    noisy = schedule.add_noise(clean, noise, steps)  # pyright: ignore[reportArgumentType]
    truth = clean if schedule.config["prediction_type"] == "sample" else noise
    found = parts_of(schedule, truth, noisy, steps)
    torch.testing.assert_close(found[0], clean, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found[1], noise, atol=1e-3, rtol=1e-3)


def test_a_student_that_knows_the_paths_end_is_consistent(schedule: LCMScheduler) -> None:
    """DDIM's steps are finite, so a little is left, and a quarter of it when there are twice as many."""
    perfect = gaussian_loss(schedule, unet(path_end, schedule))
    finer = gaussian_loss(
        schedule, unet(path_end, schedule), UNGUIDED.model_copy(update={"solver_steps": 100})
    )
    as_teacher = gaussian_loss(schedule, unet(posterior_mean, schedule))
    assert 0 < perfect < 2e-4
    assert finer < 0.5 * perfect
    assert as_teacher > 5 * perfect


def test_the_loss_is_the_formula(schedule: LCMScheduler) -> None:
    """Timesteps and noise as the share draws them; all else in numpy."""
    half = gaussian_loss(schedule, unet(lambda latent, _: 0.5 * latent, schedule))
    generator = torch.Generator().manual_seed(3)
    start = torch.randint(1, 51, (256,), generator=generator).numpy() * 20 - 1
    noise = torch.randn(256, 2, 4, 4, generator=generator).numpy()
    clean = SPREAD * torch.randn(256, 2, 4, 4, generator=torch.Generator().manual_seed(9)).numpy()
    end = np.maximum(start - 20, 0)

    def jump(latent: np.ndarray, steps: np.ndarray) -> np.ndarray:
        scaled = (10 * steps)[:, None, None, None]
        return 0.25 / (scaled**2 + 0.25) * latent + scaled / np.sqrt(scaled**2 + 0.25) * 0.5 * latent

    kept, later = (kept_of(steps)[:, None, None, None] for steps in (start, end))
    noisy = np.sqrt(kept) * clean + np.sqrt(1 - kept) * noise
    restored = noisy * np.sqrt(kept) * SPREAD**2 / (kept * SPREAD**2 + 1 - kept)
    left = (noisy - np.sqrt(kept) * restored) / np.sqrt(1 - kept)
    moved = np.sqrt(later) * restored + np.sqrt(1 - later) * left
    expected = ((jump(noisy, start) - jump(moved, end)) ** 2).mean()
    np.testing.assert_allclose(half, expected, rtol=2e-3)


def test_guidance_moves_away_from_the_blank_prompt(schedule: LCMScheduler) -> None:
    """A teacher that answers a blank prompt alike cannot be guided; another one is, the more the farther."""
    student = unet(path_end, schedule)
    guided = LcmLossConfig(guidance_low=2, guidance_high=2)
    assert gaussian_loss(schedule, student, guided) == pytest.approx(
        gaussian_loss(schedule, student), rel=1e-4
    )

    def aware(inputs: torch.Tensor, steps: torch.Tensor, hidden: torch.Tensor, **_: Any) -> Any:
        """Half as sure of itself without a prompt: here a prompt is a token that is not zero."""
        sure = unet(posterior_mean, schedule)(inputs, steps).sample
        return SimpleNamespace(sample=sure * (1.0 if hidden.any() else 0.5))

    def loss(weight: float) -> float:
        config = LcmLossConfig(guidance_low=weight, guidance_high=weight)
        clean = SPREAD * torch.randn(64, 2, 4, 4, generator=torch.Generator().manual_seed(9))
        task = Denoising(clean, torch.zeros(64, 3, 4, 4), torch.zeros(64, 1, 16, 16), torch.ones(64, 1, 4, 4))
        guide = SimpleNamespace(unet=aware, scheduler=schedule)
        condition = (torch.ones(64, 1, 1), {"text_embeds": torch.ones(64, 1)})
        batch_slice = BatchSlice(torch.Generator().manual_seed(1))
        return consistency_loss(guide, student, task, condition, config, batch_slice).item()  # pyright: ignore[reportArgumentType]

    assert loss(0) < loss(1) < loss(3)
    with pytest.raises(ValueError, match="guidance_low"):
        LcmLossConfig(guidance_low=4, guidance_high=3)


@pytest.fixture
def batch(images, boxes) -> TripletBatch:
    truths, masks = images(4, 7), boxes(4)
    sources = [
        np.where(mask[..., None], np.uint8(250), truth) for truth, mask in zip(truths, masks, strict=True)
    ]
    return TripletBatch(images_to_tensor(sources), masks_to_tensor(masks), images_to_tensor(truths))


def test_only_the_lora_learns_and_the_loss_falls(build_network, batch: TripletBatch) -> None:
    teacher: InpaintingNetwork = build_network()
    before = {name: t.clone() for name, t in teacher.unet.state_dict().items()}
    student = student_of(teacher.unet, LcmLoraConfig(rank=8), seed=0)
    trained = [name for name, p in student.named_parameters() if p.requires_grad]
    assert trained
    assert all(".lora_" in name for name in trained)
    config = TrainingConfig(
        steps=40, batch_size=4, learning_rate=3e-3, schedule="constant", warmup_steps=1, ema_decay=0
    )

    def batches(start: int, stop: int, parts: Any) -> Any:
        del parts
        return [batch] * (stop - start)

    losses = train(student, lambda b, s: lcm_loss(teacher, student, b, UNGUIDED, s), batches, config)
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])
    for name, tensor in teacher.unet.state_dict().items():
        assert torch.equal(tensor, before[name]), f"the teacher's {name} moved"


def test_the_schedule_is_over_the_networks_own_noise_levels(build_network) -> None:
    network = build_network(prediction_type="epsilon")
    schedule = lcm_schedule(network)
    assert torch.equal(schedule.alphas_cumprod, network.scheduler.alphas_cumprod)
    assert schedule.config["prediction_type"] == "epsilon"
    schedule.set_timesteps(4)
    assert schedule.timesteps.tolist() == [999, 759, 499, 259]
