"""Make the shipped base again: pictures with objects, holes to fill, and the better part of an hour."""

from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from data_specs.triplet import Triplet
from models.diffusion.inpainting import InpaintingNetwork
from models.training.loop import Progress, TrainingConfig
from tasks.sources.clip.clip import ClipConfig, clip_triplets
from tasks.sources.synthetic.samples import StudioConfig, studio_triplets
from tasks.sources.synthetic.scene import World
from tasks.training.base import train_base

_STUDIO_SEED = 900
"""Scenes of the base; cycles use other seeds."""


class BaseConfig(BaseModel):
    """What the base learns from, and how long; the defaults made the shipped one."""

    model_config = ConfigDict(frozen=True)

    studio_pictures: int = Field(
        default=4500, ge=1, description="Studio pictures with their objects in place."
    )
    clip_repeats: int = Field(
        default=3, ge=0, description="How often the clip's training pictures are counted beside them."
    )
    training: TrainingConfig = Field(
        default=TrainingConfig(
            steps=8000,
            learning_rate=1.5e-3,
            ema_decay=0.999,
            warmup_steps=100,
            checkpoint_every=500,
        ),
        description="Of the base's U-Net.",
    )


def make_base(
    config: BaseConfig,
    checkpoint: Path,
    told: Callable[[str], None],
    progress: Progress,
) -> InpaintingNetwork:
    """Film, fit the codec, train; goes on from the checkpoint after a kill.

    Only training pictures are looked at: the clip's validation and test blocks stay unseen.
    """
    told(f"filming {config.studio_pictures} studio pictures")
    studio = StudioConfig(world=World(), seed=_STUDIO_SEED)
    pictures = list(studio_triplets(studio, range(config.studio_pictures)))
    told("reading the sample clip")
    found = [item for item in clip_triplets(ClipConfig()) if isinstance(item, Triplet)]
    pictures += [item for item in found if item.split == "train"] * config.clip_repeats
    told(f"training on {len(pictures)} pictures")
    return train_base(pictures, config.training, checkpoint=checkpoint, progress=progress)
