"""The loop on a network small enough to follow by hand: resume to the bit, EMA, schedule, refusals."""

import copy
import math
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import accelerate
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from data_specs.errors import ModelError
from models.training.checkpoint import TrainingState, save_checkpoint
from models.training.loop import TrainingConfig, train
from models.training.running import RunningConfig
from models.training.share import Share

CONFIG = TrainingConfig(
    steps=9, warmup_steps=3, learning_rate=1e-2, checkpoint_every=4, ema_decay=0.9, seed=3
)


class Killed(BaseException):
    """Stands for a signal: nothing catches it."""


def fresh() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2))


def batches(start: int, stop: int, _parts: object = None) -> Iterator[Tensor]:
    for number in range(start, stop):
        yield torch.randn(6, 5, generator=torch.Generator().manual_seed(100 + number))


def run(
    module: nn.Module, config: TrainingConfig = CONFIG, checkpoint: Path | None = None, kill_at: int = -1
) -> list[float]:
    """Train to predict a sum from noisy inputs; the noise is the generator's."""
    done = 0

    def loss_of(batch: Tensor, share: Share) -> Tensor:
        noisy = batch + 0.1 * share.draw(len(batch), lambda n, g: torch.randn(n, 5, generator=g))
        return (module(noisy) - batch.sum(1, keepdim=True)).pow(2).mean()

    def progress(step: int, total: int, loss: float) -> None:
        nonlocal done
        assert (step, total) == (step, config.steps)
        assert math.isfinite(loss)
        done += 1
        if step == kill_at:
            raise Killed

    return train(module, loss_of, batches, config, checkpoint, progress)


def by_hand(config: TrainingConfig) -> tuple[list[Tensor], list[list[Tensor]], list[float]]:
    """EMA, the weights after each step, and the losses, written out without the loop."""
    module = fresh()
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
def test_weights_losses_and_average_are_the_recursion_by_hand(schedule) -> None:
    config = CONFIG.model_copy(update={"schedule": schedule})
    module = fresh()
    losses = run(module, config)
    average, weights, expected = by_hand(config)
    assert losses == pytest.approx(expected, rel=1e-5)
    for found, wanted, last in zip(module.parameters(), average, weights[-1], strict=True):
        torch.testing.assert_close(found.detach(), wanted, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(found, last, atol=1e-4), "the average is kept, not the last weights"


def test_without_averaging_the_last_weights_are_kept() -> None:
    config = CONFIG.model_copy(update={"ema_decay": 0.0})
    module = fresh()
    run(module, config)
    for found, last in zip(module.parameters(), by_hand(config)[1][-1], strict=True):
        torch.testing.assert_close(found.detach(), last, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kill_at", [2, 4, 6, 8, 9])
def test_killed_and_resumed_is_unbroken_to_the_bit(tmp_path: Path, kill_at: int) -> None:
    unbroken = fresh()
    losses = run(unbroken)
    checkpoint = tmp_path / "checkpoints" / "c.safetensors"
    with pytest.raises(Killed):
        run(fresh(), checkpoint=checkpoint, kill_at=kill_at)
    assert checkpoint.exists() == (kill_at >= 4)
    resumed = fresh()
    with torch.no_grad():
        for parameter in resumed.parameters():
            parameter.add_(1)  # a resume takes the weights from the checkpoint, not from the module
    if kill_at < 4:
        resumed = fresh()
    assert run(resumed, checkpoint=checkpoint) == losses
    for found, wanted in zip(resumed.parameters(), unbroken.parameters(), strict=True):
        assert torch.equal(found, wanted)


def test_killed_twice(tmp_path: Path) -> None:
    unbroken = fresh()
    losses = run(unbroken)
    checkpoint = tmp_path / "c.safetensors"
    for kill_at in (5, 8):
        with pytest.raises(Killed):
            run(fresh(), checkpoint=checkpoint, kill_at=kill_at)
    last = fresh()
    assert run(last, checkpoint=checkpoint) == losses
    assert all(torch.equal(a, b) for a, b in zip(last.parameters(), unbroken.parameters(), strict=True))


def test_dropout_goes_on_where_it_stood(tmp_path: Path) -> None:
    """Torch's own random state is part of the checkpoint."""

    def module() -> nn.Module:
        return nn.Sequential(*fresh(), nn.Dropout(0.3))

    torch.manual_seed(1)
    unbroken = module()
    torch.manual_seed(1)
    losses = run(unbroken)
    checkpoint, broken = tmp_path / "c.safetensors", module()
    torch.manual_seed(1)
    with pytest.raises(Killed):
        run(broken, checkpoint=checkpoint, kill_at=4)
    torch.manual_seed(77)
    assert run(module(), checkpoint=checkpoint) == losses


def test_a_loss_that_is_no_number_is_an_error_that_keeps_the_checkpoint(tmp_path: Path) -> None:
    checkpoint, seen = tmp_path / "c.safetensors", []

    def run_with(factor: float) -> list[float]:
        module = fresh()

        def loss_of(batch: Tensor, _share: Share) -> Tensor:
            return module(batch).pow(2).mean() * (factor if len(seen) == 5 else 1)

        return train(module, loss_of, batches, CONFIG, checkpoint, lambda step, *_: seen.append(step))

    with pytest.raises(ModelError, match="the loss became nan at step 5; lower the learning rate"):
        run_with(math.nan)
    assert seen == [1, 2, 3, 4, 5]
    assert len(run_with(1.0)) == CONFIG.steps
    assert seen[5:] == [5, 6, 7, 8, 9], "it goes on from the checkpoint of step 4"


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    checkpoint = tmp_path / "c.safetensors"
    run(fresh(), checkpoint=checkpoint)
    with pytest.raises(ModelError, match="other settings"):
        run(fresh(), CONFIG.model_copy(update={"learning_rate": 1e-3}), checkpoint)
    wider = nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, 2))
    with pytest.raises(ModelError, match="other settings|another network"):
        run(wider, checkpoint=checkpoint)
    data = checkpoint.read_bytes()
    for damaged in (data[:-50], data[:20], b"", b"not a checkpoint at all"):
        checkpoint.write_bytes(damaged)
        with pytest.raises(
            ModelError, match=rf"^{checkpoint}: damaged checkpoint .* delete it to start anew"
        ):
            run(fresh(), checkpoint=checkpoint)
    save_file({"weight/0.weight": torch.zeros(2)}, checkpoint)
    with pytest.raises(ModelError, match="delete it to start anew"):
        run(fresh(), checkpoint=checkpoint)


def test_frozen_parameters_stay_as_they_were(tmp_path: Path) -> None:
    module = fresh()
    for parameter in module[0].parameters():
        parameter.requires_grad_(False)
    before = copy.deepcopy(module.state_dict())
    run(module, checkpoint=tmp_path / "c.safetensors")
    moved = {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {"2.weight", "2.bias"}


def test_a_parameter_that_no_gradient_reaches_survives_a_resume(tmp_path: Path) -> None:
    def module() -> nn.Module:
        made = fresh()
        made.register_parameter("unused", nn.Parameter(torch.ones(3)))
        return made

    unbroken, checkpoint = module(), tmp_path / "c.safetensors"
    losses = run(unbroken)
    with pytest.raises(Killed):
        run(module(), checkpoint=checkpoint, kill_at=6)
    assert run(module(), checkpoint=checkpoint) == losses


def test_it_runs_through_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    """What distributes and scales is accelerate's: model, optimizer, backward and clipping go through it."""
    called: list[str] = []
    for name in ("prepare", "backward", "clip_grad_norm_"):
        true = getattr(accelerate.Accelerator, name)

        def noted(self, *given, _true=true, _name=name, **named):
            called.append(_name)
            return _true(self, *given, **named)

        monkeypatch.setattr(accelerate.Accelerator, name, noted)
    run(fresh())
    assert called.count("backward") == called.count("clip_grad_norm_") == CONFIG.steps
    assert "prepare" in called


def test_it_ends_ready_for_use() -> None:
    module = fresh()
    run(module)
    assert not module.training


def test_a_changed_setting_is_named(tmp_path: Path) -> None:
    run(fresh(), checkpoint=tmp_path / "c")
    with pytest.raises(ModelError, match=r"learning_rate was 0.01, is 0.001\); set them back, or delete it"):
        run(fresh(), CONFIG.model_copy(update={"learning_rate": 1e-3}), tmp_path / "c")


def test_a_poisoned_gradient_reaches_no_checkpoint(tmp_path: Path) -> None:
    """The loss is a number, its gradient is not: √0 has an infinite slope."""
    module, checkpoint = fresh(), tmp_path / "c"

    def loss_of(batch: Tensor, share: Share) -> Tensor:
        return (module(batch).pow(2).mean() * 0).sqrt()

    with pytest.raises(ModelError, match="the gradient's norm became nan at step 0"):
        train(module, loss_of, batches, CONFIG.model_copy(update={"checkpoint_every": 1}), checkpoint)
    assert not checkpoint.exists()
    assert all(p.isfinite().all() for p in module.parameters())


def test_older_checkpoints_stay_and_the_damaged_newest_names_them(tmp_path: Path) -> None:
    checkpoint = tmp_path / "c"

    def kept() -> list[float]:
        module = fresh()

        def loss_of(batch: Tensor, _share: Share) -> Tensor:
            return module(batch).pow(2).mean()

        return train(module, loss_of, batches, CONFIG, checkpoint, running=RunningConfig(keep_checkpoints=2))

    losses = kept()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "c.step00000008"]
    checkpoint.write_bytes(checkpoint.read_bytes()[:-9])
    with pytest.raises(ModelError, match=r"damaged checkpoint .*; rename c.step00000008 to c, or delete it"):
        kept()
    (tmp_path / "c.step00000008").rename(checkpoint)
    assert kept() == losses


def test_a_full_disk_is_said_and_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    """A process that may write no file beyond 2 kB, as a disk that fills up."""
    run(fresh(), checkpoint=tmp_path / "c", config=CONFIG)
    before = (tmp_path / "c").read_bytes()
    state = TrainingState({}, [], torch.optim.AdamW([nn.Parameter(torch.zeros(1))]), 9, [0.5] * 9)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(ModelError, match="step 9 cannot be written .*make room and start again"):
            save_checkpoint(tmp_path / "c", state, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    assert (tmp_path / "c").read_bytes() == before


def test_a_batch_that_does_not_split_evenly_is_refused() -> None:
    with pytest.raises(
        ModelError, match="a batch of 16 does not split evenly over 1 processes with 3 samples"
    ):
        train(fresh(), lambda *_: torch.zeros(()), batches, CONFIG, running=RunningConfig(samples_at_once=3))
