"""The loop on a network small enough to follow by hand: EMA, schedule, what is trained and by what."""

import copy
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import accelerate
import pytest
import torch
from torch import Tensor, nn

from data_specs.errors import ModelError
from models.training.distributed import DistributedConfig
from models.training.loop import TrainingConfig, train


def by_hand(
    module: nn.Module, batches: Callable[..., Iterator[Tensor]], config: TrainingConfig
) -> tuple[list[Tensor], list[list[Tensor]], list[float]]:
    """EMA, the weights after each step, and the losses, written out without the loop."""
    parameters = list(module.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
    average = [p.detach().clone() for p in parameters]
    weights, losses = [], []
    for step, batch in enumerate(batches(0, config.steps)):
        if step < config.warmup_steps:
            rate = (step + 1) / config.warmup_steps
        elif config.schedule == "cosine":
            rate = 0.5 + 0.5 * math.cos(
                math.pi * (step - config.warmup_steps) / (config.steps - config.warmup_steps)
            )
        else:
            rate = 1.0
        optimizer.param_groups[0]["lr"] = config.learning_rate * rate
        noise = torch.randn(
            batch.shape, generator=torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        )
        loss = (module(batch + 0.1 * noise) - batch.sum(1, keepdim=True)).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        norm = math.sqrt(sum(float(p.grad.pow(2).sum()) for p in parameters if p.grad is not None))
        for parameter in parameters:
            assert parameter.grad is not None
            parameter.grad *= min(1.0, config.gradient_clip / (norm + 1e-6))
        optimizer.step()
        losses.append(loss.item())
        weights.append([p.detach().clone() for p in parameters])
        decay = min(config.ema_decay, (2 + step) / (11 + step))
        average = [decay * a + (1 - decay) * p.detach() for a, p in zip(average, parameters, strict=True)]
    return average, weights, losses


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_weights_losses_and_average_are_the_recursion_by_hand(schedule, run, fresh, batches, config) -> None:
    config = config.model_copy(update={"schedule": schedule})
    module = fresh()
    losses = run(module, config)
    average, weights, expected = by_hand(fresh(), batches, config)
    assert losses == pytest.approx(expected, rel=1e-5)
    for found, wanted, last in zip(module.parameters(), average, weights[-1], strict=True):
        torch.testing.assert_close(found.detach(), wanted, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(found, last, atol=1e-4), "the average is kept, not the last weights"


def test_without_averaging_the_last_weights_are_kept(run, fresh, batches, config) -> None:
    config = config.model_copy(update={"ema_decay": 0.0})
    module = fresh()
    run(module, config)
    for found, last in zip(module.parameters(), by_hand(fresh(), batches, config)[1][-1], strict=True):
        torch.testing.assert_close(found.detach(), last, rtol=1e-5, atol=1e-6)


def test_frozen_parameters_stay_as_they_were(tmp_path: Path, run, fresh) -> None:
    module = fresh()
    for parameter in module[0].parameters():
        parameter.requires_grad_(False)
    before = copy.deepcopy(module.state_dict())
    run(module, checkpoint=tmp_path / "c.safetensors")
    moved = {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {"2.weight", "2.bias"}


def test_it_runs_through_accelerate(monkeypatch: pytest.MonkeyPatch, run, fresh, config) -> None:
    """What distributes and scales is accelerate's: model, optimizer, backward and clipping go through it."""
    called: list[str] = []
    for name in ("prepare", "backward", "clip_grad_norm_"):
        true = getattr(accelerate.Accelerator, name)

        def noted(self, *given, _true=true, _name=name, **named):
            called.append(_name)
            return _true(self, *given, **named)

        monkeypatch.setattr(accelerate.Accelerator, name, noted)
    run(fresh())
    assert called.count("backward") == called.count("clip_grad_norm_") == config.steps
    assert "prepare" in called


def test_it_ends_ready_for_use(run, fresh) -> None:
    module = fresh()
    run(module)
    assert not module.training


def test_a_batch_that_does_not_split_evenly_is_refused(fresh, batches, config) -> None:
    with pytest.raises(
        ModelError, match="a batch of 16 cannot be divided evenly by 1 processes with 3 samples"
    ):
        train(
            fresh(),
            lambda *_: torch.zeros(()),
            batches,
            config,
            distributed=DistributedConfig(micro_batch_size=3),
        )
