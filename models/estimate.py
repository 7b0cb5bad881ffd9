"""What a training step will need of a GPU, before there is one: bytes and arithmetic, by a walk on "meta"."""

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from models.training.distributed import RunningConfig, checkpoint_gradients

_MOMENT_BYTES = {"adamw": 8, "adamw_8bit": 2}
"""Of AdamW's two moments, for each number trained."""


class StepNeeds(NamedTuple):
    """What one process holds during a step, in bytes, and what a step computes."""

    weights: int
    """Of all parts, the frozen ones too."""
    average: int
    gradients: int
    moments: int
    activations: int
    """What a step holds besides at its fullest moment; gradients yet to come leave their room to others."""
    flops: int
    """Of one pass, forwards and backwards; a multiplication with its addition is two."""

    @property
    def total(self) -> int:
        """Bytes."""
        return self.weights + self.average + self.gradients + self.moments + self.activations


def step_needs(
    module: nn.Module,
    loss: Callable[[], Tensor],
    running: RunningConfig,
    frozen_bytes: int = 0,
    accumulated: bool = False,
) -> StepNeeds:
    """Walk a step on "meta", where tensors have shapes and no memory.

    bfloat16 follows CUDA's autocast: matrices, convolutions and attention in bfloat16, norms in float32, and
    weights cast once a pass. Where gradients are accumulated, all of them are there while a second pass runs.

    Args:
        module: Holds the parameters, on "meta"; those with ``requires_grad`` are trained. Not for use
            afterwards.
        loss: One pass of it on ``samples_at_once`` samples.
        running: Precision, optimizer, gradient checkpointing.
        frozen_bytes: Of parts that ``module`` does not hold.
        accumulated: Whether a step takes several passes.
    """
    module.train()
    if running.gradient_checkpointing:
        checkpoint_gradients(module)
    forward = _CudaAutocast(module, loss) if running.precision == "bfloat16" else loss
    trained = [p for p in module.parameters() if p.requires_grad]
    with FlopCounterMode(display=False) as flops:  # it holds on to tensors, so memory is another walk
        forward().backward()
    for parameter in trained:
        parameter.grad = None
    live = _LiveBytes()
    with live:
        for _ in range(1 + accumulated):
            forward().backward()
    numbers = sum(p.numel() for p in trained)
    held = sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))
    return StepNeeds(
        weights=held + frozen_bytes,
        average=4 * numbers,
        gradients=4 * numbers,
        moments=_MOMENT_BYTES[running.optimizer] * numbers,
        activations=max(0, live.most - 4 * numbers),
        flops=flops.get_total_flops(),
    )


class _LiveBytes(TorchDispatchMode):
    """Bytes of all tensors made inside and still alive, and the most there ever were."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {id(t.untyped_storage()) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and id(tensor.untyped_storage()) not in given:
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()
        if key in self._known:
            return

        def gone(_: object) -> None:
            self.now -= size
            del self._known[key]

        self._known[key] = weakref.ref(storage, gone)
        self.now += size
        self.most = max(self.most, self.now)


class _CudaAutocast:
    """CUDA's autocast to bfloat16 of a U-Net's layers and weights, for "meta", which has none."""

    def __init__(self, module: nn.Module, loss: Callable[[], Tensor]) -> None:
        self._loss = loss
        self._casts: dict[Tensor, Tensor] = {}
        self._forwards = False
        for part in module.modules():
            if isinstance(part, nn.Linear | nn.Conv2d):
                cast(Any, part).forward = partial(self._low, part)
            elif isinstance(part, nn.GroupNorm | nn.LayerNorm):
                cast(Any, part).forward = partial(_high, part)

    def __call__(self) -> Tensor:
        """The loss; what was cast for it is let go at its end, but for what the way back needs."""
        self._forwards = True
        found = self._loss()
        self._forwards = False
        self._casts.clear()
        return found

    def _low(self, part: nn.Linear | nn.Conv2d, x: Tensor) -> Tensor:
        weight, bias = self._cast(part.weight), None if part.bias is None else self._cast(part.bias)
        if isinstance(part, nn.Linear):
            return nn.functional.linear(x.bfloat16(), weight, bias)
        return part._conv_forward(x.bfloat16(), weight, bias)

    def _cast(self, weight: Tensor) -> Tensor:
        if not self._forwards:
            return weight.bfloat16()
        if weight not in self._casts:
            self._casts[weight] = weight.bfloat16()
        return self._casts[weight]


def _high(part: nn.GroupNorm | nn.LayerNorm, x: Tensor) -> Tensor:
    return cast(Any, type(part)).forward(part, x.float())
