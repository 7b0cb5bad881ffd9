"""Run one training on any number of processes: passes, precision, optimizer, sharding.

The result stays the same.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal, Self, TypeVar, cast

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    FullyShardedDataParallelPlugin,
)
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.distributed.tensor import DTensor, distribute_tensor

from data_specs.errors import ModelError
from data_specs.tested_versions import require_tested
from models.device import launched_processes, network_device

# Sharding over the processes (FSDP2, by accelerate's plugin), and gathering afterwards.

REPEATED_BLOCKS = ("BasicTransformerBlock", "ResnetBlock2D")
"""Blocks that are gathered, used and freed one after the other. Gradient checkpointing uses the same
blocks."""


def sharding_plugin(module: nn.Module) -> FullyShardedDataParallelPlugin:
    """FSDP2 with sharded optimizer state, gradients and weights. The results are those without sharding."""
    kinds = {type(part).__name__ for part in module.modules()}
    pieces = [name for name in REPEATED_BLOCKS if name in kinds]
    return FullyShardedDataParallelPlugin(
        fsdp_version=2,
        reshard_after_forward=True,
        auto_wrap_policy="transformer_based_wrap" if pieces else "no_wrap",
        transformer_cls_names_to_wrap=pieces,
        # Autocast decides the precision, as it does without sharding.
        mixed_precision_policy=MixedPrecisionPolicy(),
    )


def settle_plugin(accelerator: Accelerator, plugin: FullyShardedDataParallelPlugin) -> None:
    """Complete accelerate's setup: it applies the plugin to GPUs only, and its flag outlives the plugin."""
    os.environ.pop("ACCELERATE_USE_FSDP", None)  # otherwise the next training here would be sharded too
    if accelerator.distributed_type == DistributedType.MULTI_CPU:
        accelerator.state.distributed_type = DistributedType.FSDP
        accelerator.state.fsdp_plugin = plugin


def whole(tensor: Tensor) -> Tensor:
    """Gather a tensor if it is sharded. All processes must call this in the same order."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def spread(tensor: Tensor, like: Tensor) -> Tensor:
    """Shard a tensor like ``like``.

    Every process takes its own part. The tensor must be equal in all processes.
    """
    if not isinstance(like, DTensor) or tensor.shape != like.shape:
        return tensor
    place = tensor.to(like.device)
    return distribute_tensor(place, like.device_mesh, like.placements, src_data_rank=None)


def way_back(module: nn.Module) -> Callable[[], None]:
    """Remember a module before it is sharded or compiled in place.

    FSDP itself cannot be undone: it changes classes, hooks and parameters of a module's parts.

    Returns:
        A function that restores the whole module in every process, without any trace of FSDP or the compiler.
        All processes must call it.
    """
    restores = [_way_back(part) for part in module.modules()]

    def restore() -> None:
        for restore_part in restores:
            restore_part()

    return restore


def _way_back(part: nn.Module) -> Callable[[], None]:
    kind, names = type(part), set(vars(part))
    hooks = {
        name: dict(kept) for name, kept in vars(part).items() if "_hooks" in name and isinstance(kept, dict)
    }

    def restore() -> None:
        part.__class__ = kind
        for name, kept in hooks.items():
            now = cast(dict[Any, Any], vars(part)[name])  # change it in place: a hook's handle refers to it
            now.clear()
            now.update(kept)
        for name in set(vars(part)) - names:
            delattr(part, name)
        for name, parameter in list(part.named_parameters(recurse=False)):
            if isinstance(parameter, DTensor):
                gathered = nn.Parameter(whole(parameter.detach()), parameter.requires_grad)
                part.register_parameter(name, gathered)

    return restore


Item = TypeVar("Item")


class DistributedConfig(BaseModel):
    """How a training runs.

    Everything except precision and optimizer may change when a training is resumed.
    """

    model_config = ConfigDict(frozen=True)

    processes: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Number of processes on this machine that train together. Use one for each GPU.",
    )
    micro_batch_size: int | None = Field(
        default=None,
        ge=1,
        description="Number of samples in one forward pass of a process. Gradients of the passes are "
        "accumulated. None: all samples of the process at once.",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="Precision of the forward and backward pass (autocast). Weights, optimizer and "
        "latents stay float32.",
    )
    optimizer: Literal["adamw", "adamw_8bit"] = Field(
        default="adamw",
        description="The optimizer. adamw: torch's fused AdamW. adamw_8bit: 8-bit moments, with the extra "
        "`bits`.",
    )
    gradient_checkpointing: bool = Field(
        default=False,
        description="Whether activations are computed twice instead of stored. This saves memory.",
    )
    compile: bool = Field(
        default=False,
        description="Whether the U-Net's repeated blocks are compiled. This takes minutes and pays in a "
        "long training.",
    )
    sharding: Literal["none", "fsdp"] = Field(
        default="none",
        description="Memory layout. none: each process holds the whole network. fsdp: weights, gradients "
        "and optimizer state are split over the processes.",
    )
    cache_latents: bool = Field(
        default=False,
        description="Whether images are encoded once and stored in the workspace. This saves time from "
        "the second epoch on. It works for removers only.",
    )
    loader_workers: int = Field(
        default=0,
        ge=0,
        le=64,
        description="Number of processes that read and decode images, for each training process.",
    )
    keep_checkpoints: int = Field(
        default=1, ge=1, le=100, description="Number of newest checkpoints to keep."
    )

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.sharding == "fsdp" and self.optimizer == "adamw_8bit":
            raise ValueError("adamw_8bit cannot be sharded; choose adamw, or set sharding to none")
        return self


def training_device() -> torch.device:
    """Where this process trains: its own GPU if there is one."""
    return network_device()


def is_first_process() -> bool:
    """Whether this is the only process, or the one that stores and reports the results of all."""
    return launched_processes().is_main_process


def refuse_cached_latents(distributed: DistributedConfig, reason: str) -> None:
    """Refuse cached latents for a training whose images are augmented anew each time.

    Raises:
        ModelError: If the config asks for cached latents.
    """
    if distributed.cache_latents:
        raise ModelError(f"cache_latents cannot be used here: {reason}; set it to false")


def to_device(batch: Any, device: torch.device) -> Any:
    """Move a tensor, or a record of tensors, to the device. Anything else is returned unchanged."""
    if is_dataclass(batch) and not isinstance(batch, type):
        return replace(batch, **{e.name: to_device(getattr(batch, e.name), device) for e in fields(batch)})
    return batch.to(device) if isinstance(batch, Tensor) else batch


def own_part(items: Sequence[Item]) -> Sequence[Item]:
    """The items for this process, of a list that all processes share."""
    state = launched_processes()
    return items[state.process_index :: state.num_processes]


def own_part_here(items: Sequence[Item]) -> Sequence[Item]:
    """The items for this process, of a list that each machine needs on its own disk."""
    state = launched_processes()
    return items[state.local_process_index :: int(os.environ.get("LOCAL_WORLD_SIZE", state.num_processes))]


def every_process_done() -> None:
    """Wait until all processes have arrived here."""
    launched_processes().wait_for_everyone()


def first_process_first() -> AbstractContextManager[None]:
    """Inside the context the first process works alone. The others follow, and find the work done."""
    return launched_processes().main_process_first()


_WHOLE = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)
"""Every process holds the whole network."""


def accelerator_for(distributed: DistributedConfig, module: nn.Module) -> Accelerator:
    """Accelerate with the launcher's processes and devices, in this precision and sharding.

    Raises:
        ModelError: If the launcher shards the network itself.
        VersionError: If accelerate or torch has a version that was not tested.
    """
    require_tested("accelerate", "training")
    require_tested("torch", "training")  # way_back undoes what its sharding and compiler leave.
    launched_processes()
    AcceleratorState._reset_state()  # remove the state of a previous training in this process
    sharded = distributed.sharding == "fsdp" and launched_processes().num_processes > 1
    plugin = sharding_plugin(module) if sharded else None
    accelerator = Accelerator(
        mixed_precision={"float32": "no", "bfloat16": "bf16"}[distributed.precision],
        fsdp_plugin=plugin,
        kwargs_handlers=[DistributedDataParallelKwargs(gradient_as_bucket_view=True)],
    )
    if plugin is not None:
        settle_plugin(accelerator, plugin)
    elif accelerator.distributed_type not in _WHOLE:
        raise ModelError(
            f"the launcher's {accelerator.distributed_type} is not supported, because its checkpoints "
            "do not hold the whole network; launch without it, and set sharding to fsdp"
        )
    return accelerator


def share_numbers(
    batch_size: int, accelerator: Accelerator, distributed: DistributedConfig
) -> tuple[list[int], int]:
    """This process's slices of a step, one for each pass, and the total number of slices of the batch.

    Raises:
        ModelError: If the batch cannot be divided evenly.
    """
    processes, rank = accelerator.num_processes, accelerator.process_index
    try:
        passes = _passes(batch_size, processes, distributed.micro_batch_size)
    except ValueError as error:
        raise ModelError(str(error)) from error
    return [number * processes + rank for number in range(passes)], passes * processes


def check_division(batch_size: int, distributed: DistributedConfig) -> None:
    """Check, before anything starts, that the processes can share a batch.

    Raises:
        ValueError: If the batch cannot be divided evenly.
    """
    _passes(batch_size, distributed.processes, distributed.micro_batch_size)


def _passes(batch_size: int, processes: int, micro_batch_size: int | None) -> int:
    """How many passes of each process make a step."""
    own, left = divmod(batch_size, processes)
    at_once = max(1, own if micro_batch_size is None else min(own, micro_batch_size))
    if left or own % at_once:
        raise ValueError(
            f"a batch of {batch_size} cannot be divided evenly by {processes} processes with "
            f"{micro_batch_size or own} samples at once; change one of these numbers"
        )
    return own // at_once


def build_optimizer(
    module: nn.Module,
    learning_rate: float,
    weight_decay: float,
    distributed: DistributedConfig,
    device: torch.device,
) -> torch.optim.Optimizer:
    """AdamW over the trained parameters.

    Raises:
        ModelError: If the config asks for 8-bit AdamW and bitsandbytes is not installed.
    """
    trained = [p for p in module.parameters() if p.requires_grad]
    if distributed.optimizer == "adamw":
        # The fused form is untested on the CPU with sharded tensors.
        fused = True if device.type == "cuda" or distributed.sharding == "none" else None
        return torch.optim.AdamW(trained, lr=learning_rate, weight_decay=weight_decay, fused=fused)
    try:
        from bitsandbytes.optim import AdamW8bit  # pyright: ignore[reportMissingImports] - an extra
    except ImportError as error:
        raise ModelError(
            "adamw_8bit needs bitsandbytes, which is not installed; run `pip install 'cleanplate[bits]'`, or "
            "choose adamw"
        ) from error
    return AdamW8bit(trained, lr=learning_rate, weight_decay=weight_decay)


def checkpoint_gradients(module: nn.Module) -> None:
    """Turn on gradient checkpointing wherever diffusers offers it."""
    for part in module.modules():
        if getattr(part, "_supports_gradient_checkpointing", False):
            part.enable_gradient_checkpointing()  # pyright: ignore[reportCallIssue]


def compile_blocks(module: nn.Module) -> None:
    """Compile the repeated blocks in place with torch. No name in the module's state changes.

    Blocks of one kind share one compiled code, in a fraction of the time for the whole network. Shapes are
    fixed.
    """
    for part in module.modules():
        if type(part).__name__ in REPEATED_BLOCKS:
            part.compile(dynamic=False)


# A process's slice of a step: its samples, its random numbers, means over all processes.


def _alone(value: Tensor) -> Tensor:
    return value


@dataclass(frozen=True, slots=True)
class BatchSlice:
    """Every ``of``-th sample of a step's batch, from ``number`` on.

    Random numbers are drawn for the whole batch and then divided. Any number of processes therefore uses the
    numbers that one process would use.
    """

    generator: torch.Generator
    """On the CPU, with the same seed in every process."""
    number: int = 0
    """0 … of − 1."""
    of: int = 1
    """Number of slices of the batch. All have the same size."""
    process_mean: Callable[[Tensor], Tensor] = _alone
    """A tensor's mean over the processes, element by element."""

    @property
    def places(self) -> slice:
        """The indices of its samples in the batch."""
        return slice(self.number, None, self.of)

    def draw(self, count: int, drawn: Callable[[int, torch.Generator], Tensor]) -> Tensor:
        """Random numbers for this slice's samples.

        Args:
            count: Samples of this slice.
            drawn: Draws numbers for a given count of samples, along the first axis, from the given generator.

        Returns:
            ``count`` along the first axis, on the CPU.
        """
        return drawn(count * self.of, self.generator)[self.places]
