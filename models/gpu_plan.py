"""Estimate the memory and hours that the full-size trainings need on a given GPU, before they start."""

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from data_specs.tested_versions import require_tested
from models.diffusion.inpainting import InpaintingNetwork
from models.objectclear.attention import capture_object_attention
from models.objectclear.network import build_full_object_clear
from models.profiles import Profile
from models.rorem.discriminator import DiscriminatorNetwork
from models.training.distributed import BatchSlice, DistributedConfig, checkpoint_gradients
from models.training.loop import TrainingConfig
from models.training.losses.discriminator import ReviewBatch, discriminator_loss
from models.training.losses.object_clear import ForegroundBatch, object_clear_loss
from models.training.losses.remover import TripletBatch, remover_loss

# Bytes and operations of a training step, measured by a run on "meta".

_MOMENT_BYTES = {"adamw": 8, "adamw_8bit": 2}
"""Bytes of AdamW's two moments for each trained number."""


class StepNeeds(NamedTuple):
    """What one process holds during a step, in bytes, and how much a step computes."""

    weights: int
    """Bytes of all parts, including the frozen ones."""
    average: int
    gradients: int
    moments: int
    activations: int
    """Further bytes at the peak of a step. Memory for later gradients is free for other tensors until
    then."""
    flops: int
    """Operations of one pass, forward and backward. A multiplication and its addition count as two."""

    @property
    def total(self) -> int:
        """Bytes of all together."""
        return self.weights + self.average + self.gradients + self.moments + self.activations


def step_needs(
    module: nn.Module,
    loss: Callable[[], Tensor],
    distributed: DistributedConfig,
    frozen_bytes: int = 0,
    accumulated: bool = False,
) -> StepNeeds:
    """Run a step on "meta", where tensors have shapes but no memory, and count.

    bfloat16 follows CUDA's autocast. Matrices, convolutions and attention are in bfloat16, norms in float32.
    Weights are cast once in a pass. If gradients are accumulated, all of them exist while a second pass runs.

    Args:
        module: Holds the parameters, on "meta". Those with ``requires_grad`` are trained. Do not use the
            module afterwards.
        loss: Computes the loss of one pass over ``micro_batch_size`` samples.
        distributed: Precision, optimizer, gradient checkpointing.
        frozen_bytes: Bytes of parts that ``module`` does not hold.
        accumulated: Whether a step has several passes.

    Raises:
        VersionError: If torch has a version that was not tested.
    """
    require_tested("torch", "the plan of a GPU's memory")
    module.train()
    if distributed.gradient_checkpointing:
        checkpoint_gradients(module)
    forward = _CudaAutocast(module, loss) if distributed.precision == "bfloat16" else loss
    trained = [p for p in module.parameters() if p.requires_grad]
    with FlopCounterMode(display=False) as flops:  # it keeps tensors alive
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
        moments=_MOMENT_BYTES[distributed.optimizer] * numbers,
        activations=max(0, live.most - 4 * numbers),
        flops=flops.get_total_flops(),
    )


class _LiveBytes(TorchDispatchMode):
    """Bytes of all living tensors that were made inside, and their peak."""

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
    """Apply CUDA's autocast to bfloat16 to a U-Net's layers and weights on "meta", which has no autocast."""

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
        """Compute the loss. Cast weights are freed afterwards, except those that the backward pass needs."""
        self._forwards = True
        loss = self._loss()
        self._forwards = False
        self._casts.clear()
        return loss

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


_SIZE_PX = 512
_USED_FRACTION, _SAMPLES_AT_ONCE = 0.1, 8
"""Fraction of a GPU's maximum rate with so many samples at once, or more.

An H200 reached .095 with 8, .050 with 4 passes of 4 accumulated and .013 with 1: a pass of fewer samples
takes as long (docs/experiments/training.md). More than 8 were not measured."""
_FREE_FRACTION = 0.92
"""Fraction of a GPU's memory. CUDA itself and fragmentation take the rest."""


class Gpu(NamedTuple):
    """A GPU, by its maker's data."""

    memory_gb: float
    """10⁹ bytes."""
    tflops: float
    """10¹² operations a second in bfloat16, dense."""


GPUS = {
    "RTX-4090": Gpu(24, 165),
    "A100-40GB": Gpu(40, 312),
    "L40S": Gpu(48, 362),
    "A100-80GB": Gpu(80, 312),
    "H100-80GB": Gpu(80, 989),
    "H200": Gpu(141, 989),
}


class TrainingPlan(NamedTuple):
    """One training with one way of running it."""

    name: str
    distributed: DistributedConfig
    training: TrainingConfig
    needs: StepNeeds

    def fits(self, gpu: Gpu) -> bool:
        """Whether the memory of one process fits into the GPU."""
        return self.needs.total <= _FREE_FRACTION * gpu.memory_gb * 1e9

    def hours(self, gpu: Gpu, count: int) -> float:
        """Hours on ``count`` GPUs, at the rate that an H200 reached with as many samples at once."""
        at_once = self.distributed.micro_batch_size or self.training.batch_size
        passes = self.training.batch_size / at_once
        used = _USED_FRACTION * min(1, at_once / _SAMPLES_AT_ONCE)
        return self.training.steps * passes * self.needs.flops / (count * used * gpu.tflops * 1e12) / 3600

    def told(self, gpu: Gpu, count: int) -> dict[str, Any]:
        """The plan as a dict, for tables and JSON."""
        return {
            "name": self.name,
            **self.distributed.model_dump(
                include={"micro_batch_size", "optimizer", "gradient_checkpointing"}
            ),
            "memory_gb": self.needs.total / 1e9,
            "fits": self.fits(gpu),
            "hours": self.hours(gpu, count),
            "bytes": self.needs._asdict(),
        }


def full_plans(profile: Profile) -> list[TrainingPlan]:
    """Plans for the remover in three ways, the discriminator and ObjectClear, with the profile's settings.

    This runs the losses themselves on "meta" (see ``step_needs``) and takes half a minute.
    """
    distributed = profile.distributed
    plain = distributed.model_copy(update={"gradient_checkpointing": False})
    small = distributed.model_copy(update={"optimizer": "adamw_8bit"})
    ways = [
        ("remover", distributed, profile.remover, _remover),
        ("remover", small, profile.remover, _remover),
        ("remover", plain, profile.remover, _remover),
        ("discriminator", distributed, profile.discriminator, _discriminator),
        ("object-clear", distributed, profile.object_clear, _object_clear),
    ]
    return [TrainingPlan(name, way, training, needs(profile, way)) for name, way, training, needs in ways]


def _remover(profile: Profile, distributed: DistributedConfig) -> StepNeeds:
    network = _full_network()
    source, truth, mask = _batch(distributed)

    def loss() -> Tensor:
        return remover_loss(network, TripletBatch(source, mask, truth), profile.remover_loss, _batch_slice())

    accumulated = _accumulated(profile.remover, distributed)
    return step_needs(network.unet, loss, distributed, _bytes(network.vae), accumulated)


def _discriminator(profile: Profile, distributed: DistributedConfig) -> StepNeeds:
    network = _full_network()
    with torch.device("meta"):
        module = DiscriminatorNetwork(network, profile.discriminator_shape, seed=0)
    source, removal, mask = _batch(distributed)

    def loss() -> Tensor:
        label = torch.zeros(len(source), device="meta")
        return discriminator_loss(module, ReviewBatch(source, mask, removal, label), _batch_slice())

    accumulated = _accumulated(profile.discriminator, distributed)
    return step_needs(module, loss, distributed, _bytes(network.vae, network.unet), accumulated)


def _object_clear(profile: Profile, distributed: DistributedConfig) -> StepNeeds:
    network = build_full_object_clear()
    source, truth, mask = _batch(distributed)

    def loss() -> Tensor:
        batch = ForegroundBatch(source, mask, truth, mask)
        return object_clear_loss(network, batch, profile.object_clear_loss, _batch_slice(), maps)

    module = nn.ModuleDict({"unet": network.unet, "object_token": network.object_token})
    with capture_object_attention(network.unet, network.prompt.object_position) as maps:
        frozen, accumulated = (
            _bytes(network.vae, network.image_encoder),
            _accumulated(profile.object_clear, distributed),
        )
        return step_needs(module, loss, distributed, frozen, accumulated)


def _full_network() -> InpaintingNetwork:
    """SDXL-inpainting, taken from ObjectClear's network."""
    whole = build_full_object_clear()
    return InpaintingNetwork(whole.unet, whole.vae, whole.scheduler, whole.prompt)


def _batch(distributed: DistributedConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Source and ground truth B×3×512×512 and a mask B×1×512×512, for one pass."""
    count = distributed.micro_batch_size or 1
    images = torch.zeros(count, 3, _SIZE_PX, _SIZE_PX, device="meta")
    return images, images, images[:, :1]


def _accumulated(training: TrainingConfig, distributed: DistributedConfig) -> bool:
    """Whether one GPU needs several passes for a step.

    More GPUs may need one pass, and a little less memory.
    """
    return distributed.micro_batch_size is not None and distributed.micro_batch_size < training.batch_size


def _batch_slice() -> BatchSlice:
    return BatchSlice(torch.Generator())


def _bytes(*parts: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for part in parts for t in part.state_dict().values())
