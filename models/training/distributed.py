"""How a training runs on its machines: passes, precision, optimizer; what it learns stays the same."""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal, TypeVar, cast

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    FullyShardedDataParallelPlugin,
    parse_flag_from_env,
)
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.distributed.tensor import DTensor, distribute_tensor

from data_specs.errors import ModelError

# A network in pieces over the processes (FSDP2, by accelerate's plugin), and whole again afterwards.

REPEATED_BLOCKS = ("BasicTransformerBlock", "ResnetBlock2D")
"""Gathered, used and let go one after the other; gradient checkpointing goes by the same parts."""


def sharding_plugin(module: nn.Module) -> FullyShardedDataParallelPlugin:
    """FSDP2 with the optimizer's state, the gradients and the weights in pieces; computed as without it."""
    found = {type(part).__name__ for part in module.modules()}
    pieces = [name for name in REPEATED_BLOCKS if name in found]
    return FullyShardedDataParallelPlugin(
        fsdp_version=2,
        reshard_after_forward=True,
        auto_wrap_policy="transformer_based_wrap" if pieces else "no_wrap",
        transformer_cls_names_to_wrap=pieces,
        # Autocast says what is computed in which precision, as it does without sharding.
        mixed_precision_policy=MixedPrecisionPolicy(),
    )


def settle_plugin(accelerator: Accelerator, plugin: FullyShardedDataParallelPlugin) -> None:
    """What accelerate leaves undone: it takes the plugin for GPUs alone, and its note of it outlives it."""
    os.environ.pop("ACCELERATE_USE_FSDP", None)  # or the next training in this process would be sharded too
    if accelerator.distributed_type == DistributedType.MULTI_CPU:
        accelerator.state.distributed_type = DistributedType.FSDP
        accelerator.state.fsdp_plugin = plugin


def whole(tensor: Tensor) -> Tensor:
    """The tensor, gathered where it lies in pieces: all processes must ask, in the same order."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def spread(tensor: Tensor, like: Tensor) -> Tensor:
    """The tensor in pieces where ``like`` is, every process taking its own; it must be the same in all."""
    if not isinstance(like, DTensor) or tensor.shape != like.shape:
        return tensor
    place = tensor.to(like.device)
    return distribute_tensor(place, like.device_mesh, like.placements, src_data_rank=None)


def way_back(module: nn.Module) -> Callable[[], None]:
    """Remember a module before it is sharded or compiled in place.

    Returns:
        What makes it whole again in every process, with nothing of FSDP or the compiler left. FSDP itself has
        no way back: it changes classes, hooks and parameters of a module's parts. All processes must ask.
    """
    restores = [_way_back(part) for part in module.modules()]

    def restore() -> None:
        for each in restores:
            each()

    return restore


def _way_back(part: nn.Module) -> Callable[[], None]:
    kind, names = type(part), set(vars(part))
    hooks = {
        name: dict(kept) for name, kept in vars(part).items() if "_hooks" in name and isinstance(kept, dict)
    }

    def restore() -> None:
        part.__class__ = kind
        for name, kept in hooks.items():
            now = cast(dict[Any, Any], vars(part)[name])  # the same one: a hook's handle holds on to it
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
    """How a training runs. All but precision and optimizer may differ from start to start of one training."""

    model_config = ConfigDict(frozen=True)

    micro_batch_size: int | None = Field(
        default=None,
        ge=1,
        description="Samples a process takes through the network at once; gradients of the rest of its share "
        "are accumulated. None: its whole share.",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="Of the network's passes, by autocast; weights, optimizer and latents stay float32.",
    )
    optimizer: Literal["adamw", "adamw_8bit"] = Field(
        default="adamw",
        description="adamw: torch's, fused; adamw_8bit: bitsandbytes', to be installed besides.",
    )
    gradient_checkpointing: bool = Field(
        default=False, description="Compute activations twice rather than keep them."
    )
    compile: bool = Field(
        default=False,
        description="Compile the U-Net's repeated blocks (inductor); worth its minutes in a long training.",
    )
    sharding: Literal["none", "fsdp"] = Field(
        default="none",
        description="fsdp: weights, gradients and the optimizer's state lie in pieces over the processes.",
    )
    cache_latents: bool = Field(
        default=False,
        description="Encode the images once, into the workspace, where they come again but for a flip: the "
        "remover's. Pays from the second epoch on.",
    )
    loader_workers: int = Field(
        default=0, ge=0, le=64, description="Processes that read and decode for each training process."
    )
    keep_checkpoints: int = Field(default=1, ge=1, le=100, description="The newest so many are kept.")


def training_device() -> torch.device:
    """Where this process trains: its own GPU where there is one."""
    return _processes().device or torch.device("cpu")


def is_first_process() -> bool:
    """Whether this is the only process, or the one that keeps and tells what all of them did."""
    return _processes().is_main_process


def refuse_cached_latents(distributed: DistributedConfig, reason: str) -> None:
    """For a training whose images are never the same twice.

    Raises:
        ModelError: If it is to cache latents.
    """
    if distributed.cache_latents:
        raise ModelError(f"cache_latents cannot be used here: {reason}; set it to false")


def to_device(batch: Any, device: torch.device) -> Any:
    """A tensor, or a record of tensors, on the device; anything else as it is."""
    if is_dataclass(batch) and not isinstance(batch, type):
        return replace(batch, **{e.name: to_device(getattr(batch, e.name), device) for e in fields(batch)})
    return batch.to(device) if isinstance(batch, Tensor) else batch


def own_part(items: Sequence[Item]) -> Sequence[Item]:
    """What this process does of what any of them can do."""
    state = _processes()
    return items[state.process_index :: state.num_processes]


def own_part_here(items: Sequence[Item]) -> Sequence[Item]:
    """What this process does of what each machine must have on its own disk."""
    state = _processes()
    return items[state.local_process_index :: int(os.environ.get("LOCAL_WORLD_SIZE", state.num_processes))]


def every_process_done() -> None:
    """Wait until all processes have come here."""
    _processes().wait_for_everyone()


def first_process_first() -> AbstractContextManager[None]:
    """What is inside, the first process does alone; the others after it, and find it done."""
    return _processes().main_process_first()


def _processes() -> PartialState:
    """The processes as the launcher made them; accelerate must be told where there are only CPUs to join."""
    return PartialState(cpu=not torch.accelerator.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU"))


_WHOLE = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)
"""Every process holds the whole network."""


def accelerator_for(distributed: DistributedConfig, module: nn.Module) -> Accelerator:
    """Accelerate as the launcher set it up (processes, devices), in this precision and sharding.

    Raises:
        ModelError: If the launcher shards the network itself, or the optimizer cannot be sharded.
    """
    _processes()
    AcceleratorState._reset_state()  # that of another training in this process
    sharded = distributed.sharding == "fsdp" and _processes().num_processes > 1
    if sharded and distributed.optimizer == "adamw_8bit":
        raise ModelError("adamw_8bit cannot be sharded; choose adamw, or sharding none")
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
            f"training with the launcher's {accelerator.distributed_type} is not supported: its checkpoints "
            "would hold no whole network; launch without it, and set sharding to fsdp"
        )
    return accelerator


def share_numbers(
    batch_size: int, accelerator: Accelerator, distributed: DistributedConfig
) -> tuple[list[int], int]:
    """This process's shares of a step, one a pass, and into how many the batch is split in all.

    Raises:
        ModelError: If the batch does not split evenly.
    """
    processes, rank = accelerator.num_processes, accelerator.process_index
    own, left = divmod(batch_size, processes)
    at_once = own if distributed.micro_batch_size is None else min(own, distributed.micro_batch_size)
    if left or own % at_once:
        raise ModelError(
            f"a batch of {batch_size} does not split evenly over {processes} processes with "
            f"{distributed.micro_batch_size or own} samples at once; choose another number of either"
        )
    passes = own // at_once
    return [number * processes + rank for number in range(passes)], passes * processes


def build_optimizer(
    module: nn.Module,
    learning_rate: float,
    weight_decay: float,
    distributed: DistributedConfig,
    device: torch.device,
) -> torch.optim.Optimizer:
    """AdamW over the parameters that are trained.

    Raises:
        ModelError: If the 8-bit one is asked for and bitsandbytes is not installed.
    """
    trained = [p for p in module.parameters() if p.requires_grad]
    if distributed.optimizer == "adamw":
        # On the CPU it is not tried with pieces of sharded tensors.
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
    """Switch gradient checkpointing on wherever diffusers offers it."""
    for part in module.modules():
        if getattr(part, "_supports_gradient_checkpointing", False):
            part.enable_gradient_checkpointing()  # pyright: ignore[reportCallIssue]


def compile_blocks(module: nn.Module) -> None:
    """Have torch compile the blocks that repeat, in place, so that no name in the module's state changes.

    By blocks and not whole: one code for all of a kind, in a fraction of the time. Shapes are fixed.
    """
    for part in module.modules():
        if type(part).__name__ in REPEATED_BLOCKS:
            part.compile(dynamic=False)


# A process's share of a step: which samples are its own, its random numbers, means over all.


def _alone(value: Tensor) -> Tensor:
    return value


@dataclass(frozen=True, slots=True)
class Share:
    """Every ``of``-th sample of a step's batch, from ``number`` on.

    What is drawn is drawn for the whole batch and then shared out, so that any number of processes sees
    the numbers that one would have seen.
    """

    generator: torch.Generator
    """On the CPU, seeded alike in every process."""
    number: int = 0
    """0 … of − 1."""
    of: int = 1
    """Shares the batch is split into; they are equally large."""
    process_mean: Callable[[Tensor], Tensor] = _alone
    """A tensor's mean over the processes, each at the same place of its own share."""

    @property
    def places(self) -> slice:
        """Where in the batch its samples stand."""
        return slice(self.number, None, self.of)

    def draw(self, count: int, drawn: Callable[[int, torch.Generator], Tensor]) -> Tensor:
        """Random numbers for this share's samples.

        Args:
            count: Samples of this share.
            drawn: Draws for so many samples, along the first axis, from the generator given.

        Returns:
            ``count`` along the first axis, on the CPU.
        """
        return drawn(count * self.of, self.generator)[self.places]
