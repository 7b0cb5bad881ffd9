"""Train any of the project's networks: one loop with accelerate, AdamW, EMA and checkpoints."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from data_specs.errors import ModelError
from models.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from models.training.distributed import (
    BatchSlice,
    DistributedConfig,
    accelerator_for,
    build_optimizer,
    checkpoint_gradients,
    compile_blocks,
    share_numbers,
    to_device,
    way_back,
)

Progress = Callable[[int, int, float], None]
"""Called with (finished steps, total steps, loss)."""
LossOf = Callable[[Any, BatchSlice], Tensor]
"""The loss of one slice of a batch. All randomness comes from the slice."""
BatchesFrom = Callable[[int, int, Sequence[slice]], Iterable[Any]]
"""Gives batches ``start`` to ``stop`` − 1. Of each batch it gives the given slices, one after the other."""


class TrainingConfig(BaseModel):
    """How a network is trained. The defaults are the tiny remover's."""

    model_config = ConfigDict(frozen=True)

    steps: int = Field(
        default=200, ge=1, description="Number of optimizer steps (RORem: 50,000, ObjectClear: 100,000)."
    )
    batch_size: int = Field(
        default=16,
        ge=1,
        le=4096,
        description="Samples of one step, over all processes (RORem: 128, ObjectClear: 32).",
    )
    learning_rate: float = Field(
        default=1e-3, gt=0, le=1, description="Peak learning rate of AdamW (RORem: 5e-5, ObjectClear: 1e-5)."
    )
    schedule: Literal["constant", "cosine"] = Field(
        default="cosine",
        description="Learning rate after the warm-up (RORem: constant, ObjectClear: cosine).",
    )
    warmup_steps: int = Field(
        default=20, ge=0, description="Number of steps of linear warm-up (both papers: 500)."
    )
    weight_decay: float = Field(default=1e-2, ge=0, le=1, description="Weight decay of AdamW (RORem: 1e-2).")
    ema_decay: float = Field(
        default=0.99,
        ge=0,
        lt=1,
        description="Decay of the moving average of the weights. The average is what is saved.",
    )
    gradient_clip: float = Field(default=1.0, gt=0, description="Maximum norm of the gradient.")
    checkpoint_every: int = Field(default=100, ge=1, description="Number of steps between checkpoints.")
    seed: int = Field(
        default=0,
        ge=0,
        description="Seed of noise, timesteps and order. Rounds and retrainings derive it from their own "
        "seed.",
    )


class _Step(nn.Module):
    """The loss as a module's forward pass. accelerate wraps it and synchronises the processes."""

    def __init__(self, trained: nn.Module, loss_of: LossOf) -> None:
        super().__init__()
        self.trained = trained
        self._loss_of = loss_of

    def forward(self, batch: Any, batch_slice: BatchSlice) -> Tensor:
        return self._loss_of(batch, batch_slice)


def train(
    module: nn.Module,
    loss_of: LossOf,
    batches_from: BatchesFrom,
    config: TrainingConfig,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    distributed: DistributedConfig | None = None,
) -> list[float]:
    """Train ``module`` in place. At the end it holds the EMA weights, on its original device.

    A killed training that starts again with the same arguments continues from ``checkpoint``. It ends with
    the same weights as an uninterrupted one. If a launcher starts several processes, each computes its slice
    of every batch. Order, noise and the loss curve are those of one process, except for rounding. A training
    may continue with another number of processes. All processes share the disk that holds ``checkpoint``.

    Args:
        module: Holds the parameters. Those with ``requires_grad`` are trained.
        loss_of: The loss of one batch.
        batches_from: Where batches come from.
        config: Everything that decides the weights.
        checkpoint: Where to keep the state. None keeps none.
        progress: Called after every step, in the first process.
        distributed: How the training runs on these machines.

    Returns:
        The loss of each step, over all processes.

    Raises:
        ModelError: If loss or gradient is not finite, the batch cannot be divided evenly, or the checkpoint
            does not fit or cannot be written.
    """
    distributed = distributed or DistributedConfig()
    home = next(module.parameters()).device
    accelerator = accelerator_for(distributed, module)
    numbers, parts = share_numbers(config.batch_size, accelerator, distributed)
    accelerator.gradient_accumulation_steps = len(numbers)
    if distributed.gradient_checkpointing:
        checkpoint_gradients(module)
    optimizer = build_optimizer(
        module, config.learning_rate, config.weight_decay, distributed, accelerator.device
    )
    as_it_was = way_back(module)
    if distributed.compile:
        compile_blocks(module)
    model, prepared = accelerator.prepare(_Step(module, loss_of), optimizer)
    named = {name: p for name, p in module.named_parameters() if p.requires_grad}
    settings = {**config.model_dump(), **distributed.model_dump(include={"precision", "optimizer"})}
    state = TrainingState(named, [p.detach().clone() for p in named.values()], optimizer, 0, [])
    if checkpoint is not None:
        load_checkpoint(checkpoint, state, settings)
    model.train()
    places = [slice(number, None, parts) for number in numbers]
    batches = iter(batches_from(state.step, config.steps, places))
    while state.step < config.steps:
        _set_rate(optimizer, config, state.step)
        batch_slices = [
            _batch_slice(accelerator, config.seed * 1_000_003 + state.step, n, parts) for n in numbers
        ]
        loss = _step(accelerator, model, prepared, batches, batch_slices, state, config)
        _record(state, loss, config)
        due = state.step == config.steps or state.step % config.checkpoint_every == 0
        if checkpoint is not None and due:
            writes = accelerator.is_main_process
            save_checkpoint(checkpoint, state, settings, distributed.keep_checkpoints, writes)
        if progress is not None and accelerator.is_main_process:
            progress(state.step, config.steps, state.losses[-1])
    with torch.no_grad():
        for parameter, average in zip(named.values(), state.ema, strict=True):
            parameter.copy_(average)
    if distributed.compile or distributed.sharding == "fsdp":
        as_it_was()
    module.to(home).eval()
    return state.losses


def _batch_slice(accelerator: Accelerator, seed: int, number: int, of: int) -> BatchSlice:
    def process_mean(value: Tensor) -> Tensor:
        return accelerator.reduce(value, "mean")  # pyright: ignore[reportReturnType] - a tensor in, one out

    return BatchSlice(torch.Generator().manual_seed(seed), number, of, process_mean)


def _step(
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: Any,
    batches: Iterator[Any],
    batch_slices: Sequence[BatchSlice],
    state: TrainingState,
    config: TrainingConfig,
) -> float:
    """One optimizer step over all slices and processes. Refuses a loss or gradient that is not finite."""
    losses: list[Tensor] = []
    mean_loss = 0.0
    for batch_slice in batch_slices:
        with accelerator.accumulate(model):
            with accelerator.autocast():
                loss = model(to_device(next(batches), accelerator.device), batch_slice)
            accelerator.backward(loss)
            losses.append(loss.detach())
            if accelerator.sync_gradients:
                norm = accelerator.clip_grad_norm_(list(state.parameters.values()), config.gradient_clip)
                mean_loss = float(batch_slice.process_mean(torch.stack(losses).mean()))
                for what, value in (("loss", mean_loss), ("gradient's norm", float(norm or 0))):
                    if not math.isfinite(value):
                        raise ModelError(
                            f"the {what} became {value} at step {state.step}; lower the learning rate"
                        )
            optimizer.step()
            optimizer.zero_grad()
    return mean_loss


def _set_rate(optimizer: torch.optim.Optimizer, config: TrainingConfig, step: int) -> None:
    """Set the learning rate: warm-up, then constant or a half cosine to zero.

    It follows from the step alone.
    """
    rate = min(1.0, (step + 1) / max(1, config.warmup_steps))
    if config.schedule == "cosine" and step >= config.warmup_steps:
        done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
        rate = 0.5 * (1 + math.cos(math.pi * done))
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * rate


@torch.no_grad()
def _record(state: TrainingState, loss: float, config: TrainingConfig) -> None:
    state.step += 1
    state.losses.append(loss)
    # The usual warm-up of EMA: a young average must not remember the start.
    decay = min(config.ema_decay, (1 + state.step) / (10 + state.step))
    for parameter, average in zip(state.parameters.values(), state.ema, strict=True):
        average.lerp_(parameter.detach(), 1 - decay)
