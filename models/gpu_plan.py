"""What the full-size trainings need of a chosen GPU, in memory and hours, before they are started."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from models.diffusion.inpainting import InpaintingNetwork
from models.estimate import StepNeeds, step_needs
from models.objectclear.attention import capture_object_attention
from models.objectclear.object_clear_sizes import build_full_object_clear
from models.profiles import Profile
from models.rorem.discriminator import DiscriminatorNetwork
from models.training.distributed import RunningConfig
from models.training.loop import TrainingConfig
from models.training.losses.discriminator import ReviewBatch, discriminator_loss
from models.training.losses.object_clear import ForegroundBatch, object_clear_loss
from models.training.losses.remover import TripletBatch, remover_loss
from models.training.share import Share

_SIZE_PX = 512
_USED_SHARE = 0.1
"""Of a GPU's greatest rate: .095 was seen on an H200 (remover, 8 samples at once, eager; docs/log.md)."""
_FREE_SHARE = 0.92
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
    running: RunningConfig
    training: TrainingConfig
    needs: StepNeeds

    def fits(self, gpu: Gpu) -> bool:
        """Whether a process's memory has room on it."""
        return self.needs.total <= _FREE_SHARE * gpu.memory_gb * 1e9

    def hours(self, gpu: Gpu, count: int) -> float:
        """On ``count`` such GPUs, if they are kept as busy as is usual."""
        at_once = self.running.samples_at_once or self.training.batch_size
        passes = self.training.batch_size / at_once
        return (
            self.training.steps * passes * self.needs.flops / (count * _USED_SHARE * gpu.tflops * 1e12) / 3600
        )

    def told(self, gpu: Gpu, count: int) -> dict[str, Any]:
        """The plan in figures, for people and machines."""
        return {
            "name": self.name,
            **self.running.model_dump(include={"samples_at_once", "optimizer", "gradient_checkpointing"}),
            "memory_gb": self.needs.total / 1e9,
            "fits": self.fits(gpu),
            "hours": self.hours(gpu, count),
            "bytes": self.needs._asdict(),
        }


def full_plans(profile: Profile) -> list[TrainingPlan]:
    """The remover in three ways, the judge and ObjectClear, all by the profile's settings.

    Half a minute of walking (see ``step_needs``) over the losses themselves, on "meta".
    """
    running = profile.running
    plain = running.model_copy(update={"gradient_checkpointing": False})
    small = running.model_copy(update={"optimizer": "adamw_8bit"})
    ways = [
        ("remover", running, profile.remover, _remover),
        ("remover", small, profile.remover, _remover),
        ("remover", plain, profile.remover, _remover),
        ("judge", running, profile.judge, _judge),
        ("object-clear", running, profile.object_clear, _object_clear),
    ]
    return [TrainingPlan(name, way, training, needs(profile, way)) for name, way, training, needs in ways]


def _remover(profile: Profile, running: RunningConfig) -> StepNeeds:
    network = _full_network()
    source, truth, mask = _batch(running)

    def loss() -> Tensor:
        return remover_loss(network, TripletBatch(source, mask, truth), profile.remover_loss, _share())

    accumulated = _accumulated(profile.remover, running)
    return step_needs(network.unet, loss, running, _bytes(network.vae), accumulated)


def _judge(profile: Profile, running: RunningConfig) -> StepNeeds:
    network = _full_network()
    with torch.device("meta"):
        module = DiscriminatorNetwork(network, profile.judge_shape, seed=0)
    source, removal, mask = _batch(running)

    def loss() -> Tensor:
        label = torch.zeros(len(source), device="meta")
        return discriminator_loss(module, ReviewBatch(source, mask, removal, label), _share())

    accumulated = _accumulated(profile.judge, running)
    return step_needs(module, loss, running, _bytes(network.vae, network.unet), accumulated)


def _object_clear(profile: Profile, running: RunningConfig) -> StepNeeds:
    network = build_full_object_clear()
    source, truth, mask = _batch(running)

    def loss() -> Tensor:
        batch = ForegroundBatch(source, mask, truth, mask)
        return object_clear_loss(network, batch, profile.object_clear_loss, _share(), maps)

    module = nn.ModuleDict({"unet": network.unet, "object_token": network.object_token})
    with capture_object_attention(network.unet, network.prompt.object_position) as maps:
        frozen, accumulated = (
            _bytes(network.vae, network.image_encoder),
            _accumulated(profile.object_clear, running),
        )
        return step_needs(module, loss, running, frozen, accumulated)


def _full_network() -> InpaintingNetwork:
    """SDXL-inpainting as ObjectClear's network holds it."""
    whole = build_full_object_clear()
    return InpaintingNetwork(whole.unet, whole.vae, whole.scheduler, whole.prompt)


def _batch(running: RunningConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Two pictures B×3×512×512 and a mask B×1×512×512, of one pass."""
    count = running.samples_at_once or 1
    pictures = torch.zeros(count, 3, _SIZE_PX, _SIZE_PX, device="meta")
    return pictures, pictures, pictures[:, :1]


def _accumulated(training: TrainingConfig, running: RunningConfig) -> bool:
    """Whether one GPU takes several passes a step; more GPUs may take one, and need a little less."""
    return running.samples_at_once is not None and running.samples_at_once < training.batch_size


def _share() -> Share:
    return Share(torch.Generator())


def _bytes(*parts: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for part in parts for t in part.state_dict().values())
