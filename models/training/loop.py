"""The training loop all of the project's networks share: accelerate, AdamW, EMA, checkpoints."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from data_specs.errors import ModelError
from data_specs.keys import derive_key
from models.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint

Progress = Callable[[int, int, float], None]
"""Called with (steps done, steps in all, loss)."""


class TrainingConfig(BaseModel):
    """How a network is trained; the defaults are the tiny remover's."""

    model_config = ConfigDict(frozen=True)

    steps: int = Field(default=200, ge=1, description="Optimizer steps.")
    batch_size: int = Field(default=16, ge=1, le=4096, description="Samples a step, over all processes.")
    learning_rate: float = Field(default=1e-3, gt=0, le=1, description="AdamW's peak learning rate.")
    schedule: Literal["constant", "cosine"] = Field(default="cosine", description="After the warm-up.")
    warmup_steps: int = Field(default=20, ge=0, description="Steps of linear warm-up.")
    weight_decay: float = Field(default=1e-2, ge=0, le=1, description="AdamW's weight decay.")
    ema_decay: float = Field(default=0.99, ge=0, lt=1, description="Of the running average that is kept.")
    gradient_clip: float = Field(default=1.0, gt=0, description="Largest gradient norm.")
    checkpoint_every: int = Field(default=100, ge=1, description="Steps between checkpoints.")
    seed: int = Field(default=0, ge=0, description="Of noise, timesteps and the order of samples.")


def train(
    module: nn.Module,
    loss_of: Callable[[Any, torch.Generator], Tensor],
    batches_from: Callable[[int, int], Iterable[Any]],
    config: TrainingConfig,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> list[float]:
    """Train ``module`` in place; at the end it holds the EMA weights.

    Killed and started again with the same arguments it goes on from ``checkpoint`` and ends with the
    weights of an unbroken run.

    Args:
        module: Holds the parameters; those with ``requires_grad`` are trained.
        loss_of: The loss of one batch, all its randomness from the generator given.
        batches_from: Batches number ``start`` to ``stop`` − 1.
        config: How.
        checkpoint: Where to keep the state; None keeps none.
        progress: Told of every step.

    Returns:
        The loss of each step.

    Raises:
        ModelError: If a loss is not a number, or the checkpoint does not fit.
    """
    accelerator = Accelerator()
    optimizer = _optimizer(module, config)
    named = {name: p for name, p in module.named_parameters() if p.requires_grad}
    state = TrainingState(named, [p.detach().clone() for p in named.values()], optimizer, 0, [])
    digest = derive_key(config.model_dump_json(), *(f"{n}{tuple(p.shape)}" for n, p in named.items()))
    if checkpoint is not None and checkpoint.exists():
        load_checkpoint(checkpoint, state, digest)
    module, prepared = accelerator.prepare(module, optimizer)
    module.train()
    for batch in batches_from(state.step, config.steps):
        _set_rate(optimizer, config, state.step)
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + state.step)
        loss = loss_of(batch, generator)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(list(named.values()), config.gradient_clip)
        prepared.step()
        prepared.zero_grad()
        _record(state, float(loss.detach()), config)
        if checkpoint is not None and (
            state.step % config.checkpoint_every == 0 or state.step == config.steps
        ):
            save_checkpoint(checkpoint, state, digest)
        if progress is not None:
            progress(state.step, config.steps, state.losses[-1])
    for parameter, average in zip(named.values(), state.ema, strict=True):
        parameter.data.copy_(average)
    accelerator.unwrap_model(module).eval()
    return state.losses


def _optimizer(module: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    trained = [p for p in module.parameters() if p.requires_grad]
    return torch.optim.AdamW(trained, lr=config.learning_rate, weight_decay=config.weight_decay)


def _set_rate(optimizer: torch.optim.Optimizer, config: TrainingConfig, step: int) -> None:
    """Warm-up, then constant or half a cosine to zero; from the step alone, so that nothing need be saved."""
    rate = min(1.0, (step + 1) / max(1, config.warmup_steps))
    if config.schedule == "cosine" and step >= config.warmup_steps:
        done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
        rate = 0.5 * (1 + math.cos(math.pi * done))
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * rate


@torch.no_grad()
def _record(state: TrainingState, loss: float, config: TrainingConfig) -> None:
    if not math.isfinite(loss):
        raise ModelError(f"the loss became {loss} at step {state.step}; lower the learning rate")
    state.step += 1
    state.losses.append(loss)
    # A young average must not remember the start: the usual warm-up of EMA.
    decay = min(config.ema_decay, (1 + state.step) / (10 + state.step))
    for parameter, average in zip(state.parameters.values(), state.ema, strict=True):
        average.lerp_(parameter.detach(), 1 - decay)
