"""A network small enough to follow by hand, and its training."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models.training.distributed import BatchSlice
from models.training.loop import TrainingConfig, train

CONFIG = TrainingConfig(
    steps=9, warmup_steps=3, learning_rate=1e-2, checkpoint_every=4, ema_decay=0.9, seed=3
)


class Killed(BaseException):
    """Stands for a signal: nothing catches it."""


@pytest.fixture
def config() -> TrainingConfig:
    """Nine steps, a checkpoint every fourth."""
    return CONFIG


@pytest.fixture
def killed() -> type[Killed]:
    return Killed


def _fresh() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2))


def _batches(start: int, stop: int, _parts: object = None) -> Iterator[Tensor]:
    for number in range(start, stop):
        yield torch.randn(6, 5, generator=torch.Generator().manual_seed(100 + number))


def _run(
    module: nn.Module, config: TrainingConfig = CONFIG, checkpoint: Path | None = None, kill_at: int = -1
) -> list[float]:
    """Train to predict a sum from noisy inputs; the noise is the generator's."""
    done = 0

    def loss_of(batch: Tensor, batch_slice: BatchSlice) -> Tensor:
        noisy = batch + 0.1 * batch_slice.draw(len(batch), lambda n, g: torch.randn(n, 5, generator=g))
        return (module(noisy) - batch.sum(1, keepdim=True)).pow(2).mean()

    def progress(step: int, total: int, loss: float) -> None:
        nonlocal done
        assert (step, total) == (step, config.steps)
        assert math.isfinite(loss)
        done += 1
        if step == kill_at:
            raise Killed

    return train(module, loss_of, _batches, config, checkpoint, progress)


@pytest.fixture
def fresh() -> Callable[[], nn.Sequential]:
    """Builds the untrained network, always the same."""
    return _fresh


@pytest.fixture
def batches() -> Callable[..., Iterator[Tensor]]:
    """(start, stop) → batches of six."""
    return _batches


@pytest.fixture
def run() -> Callable[..., list[float]]:
    """(module, config, checkpoint, kill_at) → the losses of a training, all but the module optional."""
    return _run
