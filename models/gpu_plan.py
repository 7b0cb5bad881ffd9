"""What the full-size trainings need of a chosen GPU, in memory and hours, before they are started."""

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from models.diffusion.inpainting import InpaintingNetwork
from models.objectclear.attention import capture_object_attention
from models.objectclear.network import build_full_object_clear
from models.profiles import Profile
from models.rorem.discriminator import DiscriminatorNetwork
from models.training.distributed import DistributedConfig, Share, checkpoint_gradients
from models.training.loop import TrainingConfig
from models.training.losses.discriminator import ReviewBatch, discriminator_loss
from models.training.losses.object_clear import ForegroundBatch, object_clear_loss
from models.training.losses.remover import TripletBatch, remover_loss

# What a training step will need of a GPU, before there is one: bytes and arithmetic, by a walk on "meta".

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
    distributed: DistributedConfig,
    frozen_bytes: int = 0,
    accumulated: bool = False,
) -> StepNeeds:
    """Walk a step on "meta", where tensors have shapes and no memory.

    bfloat16 follows CUDA's autocast: matrices, convolutions and attention in bfloat16, norms in float32, and
    weights cast once a pass. Where gradients are accumulated, all of them are there while a second pass runs.

    Args:
        module: Holds the parameters, on "meta"; those with ``requires_grad`` are trained. Not for use
            afterwards.
        loss: One pass of it on ``micro_batch_size`` samples.
        distributed: Precision, optimizer, gradient checkpointing.
        frozen_bytes: Of parts that ``module`` does not hold.
        accumulated: Whether a step takes several passes.
    """
    module.train()
    if distributed.gradient_checkpointing:
        checkpoint_gradients(module)
    forward = _CudaAutocast(module, loss) if distributed.precision == "bfloat16" else loss
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
        moments=_MOMENT_BYTES[distributed.optimizer] * numbers,
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


_SIZE_PX = 512
_USED_FRACTION = 0.1
"""Of a GPU's greatest rate: .095 was seen on an H200 (remover, 8 samples at once, eager; docs/log.md)."""
_FREE_FRACTION = 0.92
"""Of a GPU's memory; the rest goes to CUDA itself and to gaps."""


class Gpu(NamedTuple):
    """A GPU as its maker describes it."""

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
    """One training in one way of running it."""

    name: str
    distributed: DistributedConfig
    training: TrainingConfig
    needs: StepNeeds

    def fits(self, gpu: Gpu) -> bool:
        """Whether a process's memory has room on it."""
        return self.needs.total <= _FREE_FRACTION * gpu.memory_gb * 1e9

    def hours(self, gpu: Gpu, count: int) -> float:
        """On ``count`` such GPUs, if they are kept as busy as is usual."""
        at_once = self.distributed.micro_batch_size or self.training.batch_size
        passes = self.training.batch_size / at_once
        return (
            self.training.steps
            * passes
            * self.needs.flops
            / (count * _USED_FRACTION * gpu.tflops * 1e12)
            / 3600
        )

    def told(self, gpu: Gpu, count: int) -> dict[str, Any]:
        """The plan in figures, for people and machines."""
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
    """The remover in three ways, the discriminator and ObjectClear, all by the profile's settings.

    Half a minute of walking (see ``step_needs``) over the losses themselves, on "meta".
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
        return remover_loss(network, TripletBatch(source, mask, truth), profile.remover_loss, _share())

    accumulated = _accumulated(profile.remover, distributed)
    return step_needs(network.unet, loss, distributed, _bytes(network.vae), accumulated)


def _discriminator(profile: Profile, distributed: DistributedConfig) -> StepNeeds:
    network = _full_network()
    with torch.device("meta"):
        module = DiscriminatorNetwork(network, profile.discriminator_shape, seed=0)
    source, removal, mask = _batch(distributed)

    def loss() -> Tensor:
        label = torch.zeros(len(source), device="meta")
        return discriminator_loss(module, ReviewBatch(source, mask, removal, label), _share())

    accumulated = _accumulated(profile.discriminator, distributed)
    return step_needs(module, loss, distributed, _bytes(network.vae, network.unet), accumulated)


def _object_clear(profile: Profile, distributed: DistributedConfig) -> StepNeeds:
    network = build_full_object_clear()
    source, truth, mask = _batch(distributed)

    def loss() -> Tensor:
        batch = ForegroundBatch(source, mask, truth, mask)
        return object_clear_loss(network, batch, profile.object_clear_loss, _share(), maps)

    module = nn.ModuleDict({"unet": network.unet, "object_token": network.object_token})
    with capture_object_attention(network.unet, network.prompt.object_position) as maps:
        frozen, accumulated = (
            _bytes(network.vae, network.image_encoder),
            _accumulated(profile.object_clear, distributed),
        )
        return step_needs(module, loss, distributed, frozen, accumulated)


def _full_network() -> InpaintingNetwork:
    """SDXL-inpainting as ObjectClear's network holds it."""
    whole = build_full_object_clear()
    return InpaintingNetwork(whole.unet, whole.vae, whole.scheduler, whole.prompt)


def _batch(distributed: DistributedConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Two images B×3×512×512 and a mask B×1×512×512, of one pass."""
    count = distributed.micro_batch_size or 1
    images = torch.zeros(count, 3, _SIZE_PX, _SIZE_PX, device="meta")
    return images, images, images[:, :1]


def _accumulated(training: TrainingConfig, distributed: DistributedConfig) -> bool:
    """Whether one GPU takes several passes a step; more GPUs may take one, and need a little less."""
    return distributed.micro_batch_size is not None and distributed.micro_batch_size < training.batch_size


def _share() -> Share:
    return Share(torch.Generator())


def _bytes(*parts: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for part in parts for t in part.state_dict().values())
