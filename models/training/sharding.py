"""A network in pieces over the processes (FSDP2, by accelerate's plugin), and whole again afterwards."""

import os
from collections.abc import Callable
from typing import Any, cast

from accelerate import Accelerator
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.distributed.tensor import DTensor, distribute_tensor

_PIECES = ("BasicTransformerBlock", "ResnetBlock2D")
"""Gathered, used and let go one after the other; gradient checkpointing goes by the same parts."""


def sharding_plugin(module: nn.Module) -> FullyShardedDataParallelPlugin:
    """FSDP2 with the optimizer's state, the gradients and the weights in pieces; computed as without it."""
    found = {type(part).__name__ for part in module.modules()}
    pieces = [name for name in _PIECES if name in found]
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
    """Remember a module before it is sharded in place.

    Returns:
        What makes it whole again in every process, with nothing of FSDP left. FSDP itself has no way back: it
        changes the classes, hooks and parameters of a module's parts. All processes must ask for it.
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
