"""The walk on "meta" against what torch's own profiler sees a real pass allocate."""

from typing import Any, cast

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch.profiler import ProfilerActivity, profile

from models.gpu_plan import GPUS, StepNeeds, TrainingPlan, step_needs
from models.profiles import PROFILES
from models.training.distributed import DistributedConfig


def loss(unet: UNet2DConditionModel, device: str) -> torch.Tensor:
    with torch.device(device):
        added = {"text_embeds": torch.zeros(8, 32), "time_ids": torch.zeros(8, 6)}
        steps, words = torch.zeros(8, dtype=torch.long), torch.zeros(8, 2, 32)
        return unet(torch.zeros(8, 9, 16, 16), steps, words, added_cond_kwargs=added).sample.pow(2).mean()


def really(unet: UNet2DConditionModel, passes: int) -> int:
    """The most that was allocated at any moment, gradients among it."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        for _ in range(passes):
            loss(unet, "cpu").backward()
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]  # pyright: ignore[reportOptionalMemberAccess]
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += cast(Any, event).nbytes()
        most = max(most, now)
    return most


@pytest.mark.parametrize(("again", "accumulated"), [(False, False), (True, False), (True, True)])
def test_memory_is_what_a_real_step_takes(build_network, again: bool, accumulated: bool) -> None:
    unet = build_network(4).unet.train()
    with torch.device("meta"):
        walked = cast(UNet2DConditionModel, UNet2DConditionModel.from_config(unet.config))
    distributed = DistributedConfig(gradient_checkpointing=again)
    needs = step_needs(walked, lambda: loss(walked, "meta"), distributed, accumulated=accumulated)
    if again:
        unet.enable_gradient_checkpointing()
    numbers = sum(p.numel() for p in unet.parameters())
    assert needs.gradients + needs.activations == pytest.approx(really(unet, 1 + accumulated), rel=0.1)
    assert (needs.weights, needs.moments, needs.total - needs.activations) == (
        4 * numbers,
        8 * numbers,
        20 * numbers,
    )


def test_bfloat16s_cast_weights_are_there_through_the_pass(build_network) -> None:
    """As seen on an H200 at full size: half the weights again, beside gradients that are there already."""
    config = build_network(4).unet.config

    def needs(precision: str, accumulated: bool) -> int:
        with torch.device("meta"):
            walked = cast(UNet2DConditionModel, UNet2DConditionModel.from_config(config))
        distributed = DistributedConfig.model_validate(
            {"precision": precision, "gradient_checkpointing": True}
        )

        def small() -> torch.Tensor:
            with torch.device("meta"):
                added = {"text_embeds": torch.zeros(1, 32), "time_ids": torch.zeros(1, 6)}
                steps, words = torch.zeros(1, dtype=torch.long), torch.zeros(1, 2, 32)
                latents = torch.zeros(1, 9, 4, 4)
                return walked(latents, steps, words, added_cond_kwargs=added).sample.pow(2).mean()

        return step_needs(walked, small, distributed, accumulated=accumulated).activations

    cast_bytes = 2 * sum(
        p.numel()
        for m in build_network(4).unet.modules()
        if isinstance(m, torch.nn.Linear | torch.nn.Conv2d)
        for p in m.parameters()
    )
    more = needs("bfloat16", True) - needs("float32", True)
    assert 0.8 * cast_bytes < more < 1.02 * cast_bytes, "the fullest moment may come a little after the pass"


@pytest.mark.parametrize(("at_once", "hours"), [(4, 42), (8, 22), (16, 22)])
def test_hours_are_those_of_the_measured_rates(at_once: int, hours: float) -> None:
    """docs/experiments/training.md: .33 steps/s of 16 samples in passes of 4, and 10.1 samples/s
    in passes of 8."""
    full = PROFILES["full"].remover
    per_sample = 94e12 / 10.1  # operations, from the row of 8 at once
    needs = StepNeeds(0, 0, 0, 0, 0, flops=int(per_sample * at_once))
    plan = TrainingPlan("remover", DistributedConfig(micro_batch_size=at_once), full, needs)
    assert plan.hours(GPUS["H200"], 8) == pytest.approx(hours, rel=0.06)
