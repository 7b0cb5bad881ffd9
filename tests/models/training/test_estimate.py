"""The walk on "meta" against what torch's own profiler sees a real pass allocate."""

from typing import Any, cast

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch.profiler import ProfilerActivity, profile

from models.training.estimate import step_needs
from models.training.running import RunningConfig


def loss(unet: UNet2DConditionModel, device: str) -> torch.Tensor:
    with torch.device(device):
        added = {"text_embeds": torch.zeros(8, 32), "time_ids": torch.zeros(8, 6)}
        steps, words = torch.zeros(8, dtype=torch.long), torch.zeros(8, 2, 32)
        return unet(torch.zeros(8, 9, 16, 16), steps, words, added_cond_kwargs=added).sample.pow(2).mean()


def really(unet: UNet2DConditionModel) -> int:
    """The most that was allocated at any moment, each gradient dropped as it came."""
    for parameter in unet.parameters():
        parameter.register_post_accumulate_grad_hook(lambda p: setattr(p, "grad", None))
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        loss(unet, "cpu").backward()
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]  # pyright: ignore[reportOptionalMemberAccess]
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += cast(Any, event).nbytes()
        most = max(most, now)
    return most


@pytest.mark.parametrize("again", [False, True])
def test_memory_is_what_a_real_pass_takes(build_network, again: bool) -> None:
    unet = build_network(4).unet.train()
    with torch.device("meta"):
        walked = cast(UNet2DConditionModel, UNet2DConditionModel.from_config(unet.config))
    running = RunningConfig(gradient_checkpointing=again)
    needs = step_needs(walked, lambda: loss(walked, "meta"), running)
    if again:
        unet.enable_gradient_checkpointing()
    assert needs.activations == pytest.approx(really(unet), rel=0.1)
    numbers = sum(p.numel() for p in unet.parameters())
    assert (needs.weights, needs.moments, needs.total - needs.activations) == (
        4 * numbers,
        8 * numbers,
        20 * numbers,
    )
