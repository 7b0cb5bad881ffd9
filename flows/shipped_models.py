"""Make the shipped base again: images with objects, holes to fill, and the better part of an hour."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from data_specs.errors import InputError, ModelError
from data_specs.triplet import Triplet
from models.diffusion.inpainting import InpaintingNetwork
from models.perception.yolo import NO_YOLO, yolo_is_installed
from models.training.loop import Progress, TrainingConfig
from tasks.sources.clip.clip import ClipConfig, clip_triplets
from tasks.sources.synthetic.samples import SyntheticConfig, synthetic_triplets
from tasks.sources.synthetic.scene import World
from tasks.storage.atomic_files import aside_path, sync_folder, write_durably
from tasks.training.base import train_base
from tasks.training.perception.trainers import TRAINERS, Trainer

_SYNTHETIC_SEED = 900
"""Scenes of the base; cycles use other seeds."""


class BaseConfig(BaseModel):
    """What the base learns from, and how long; the defaults made the shipped one."""

    model_config = ConfigDict(frozen=True)

    synthetic_images: int = Field(
        default=4500, ge=1, description="Number of synthetic images with their objects in place."
    )
    clip_repeats: int = Field(
        default=3,
        ge=0,
        description="How often each training image of the clip counts beside the synthetic images.",
    )
    training: TrainingConfig = Field(
        default=TrainingConfig(
            steps=8000,
            learning_rate=1.5e-3,
            ema_decay=0.999,
            warmup_steps=100,
            checkpoint_every=500,
        ),
        description="Training of the base's U-Net.",
    )


def make_base(
    config: BaseConfig,
    checkpoint: Path,
    say: Callable[[str], None],
    progress: Progress,
) -> InpaintingNetwork:
    """Render, fit the codec, train; goes on from the checkpoint after a kill.

    Only training images are looked at: the clip's validation and test blocks stay unseen.
    """
    say(f"rendering {config.synthetic_images} synthetic images")
    renderer = SyntheticConfig(world=World(), seed=_SYNTHETIC_SEED)
    images = list(synthetic_triplets(renderer, range(config.synthetic_images)))
    say("reading the sample clip")
    triplets = [item for item in clip_triplets(ClipConfig()) if isinstance(item, Triplet)]
    images += [item for item in triplets if item.split == "train"] * config.clip_repeats
    say(f"training on {len(images)} images")
    return train_base(images, config.training, checkpoint=checkpoint, progress=progress)


# Make perception's tiny weights again: each model trained, measured, and given a card.

CARD = "card.json"


class PerceptionConfig(BaseModel):
    """Which models to make, and where; the defaults made the shipped ones."""

    model_config = ConfigDict(frozen=True)

    out: Path = Field(
        description="The folder that gets one subfolder for each model. cleanplate reads "
        "models/weights/perception."
    )
    only: tuple[str, ...] = Field(default=(), description="Names of the models to train. Empty: all models.")
    steps: int | None = Field(
        default=None, ge=1, description="Optimizer steps. None: the default of each model."
    )
    scenes: int = Field(
        default=300,
        ge=1,
        description="Number of unseen synthetic scenes that are measured for the model cards.",
    )


class PerceptionCard(BaseModel):
    """What made a model, and how good it was found to be; ``card.json`` beside the weights."""

    model_config = ConfigDict(frozen=True)

    model: str
    learns: str
    training: TrainingConfig
    scenes: int
    """Unseen synthetic scenes it was measured on."""
    measured: dict[str, float]
    """Figures by name, each 0..1 but for counts; baselines among them."""


def make_perception(
    config: PerceptionConfig, say: Callable[[str], None], progress: Progress
) -> list[PerceptionCard]:
    """Train and measure each model; killed and started again, it goes on where it stood.

    A model's folder appears whole, with its card, and then takes the place of an older one.

    Raises:
        InputError: If a name of ``only`` is no trainer's.
        ModelError: If YOLO is named and not installed.
    """
    cards: list[PerceptionCard] = []
    trainers = chosen(config.only, say)
    work = config.out.with_name(f"{config.out.name}.work")
    work.mkdir(parents=True, exist_ok=True)
    for trainer in trainers:
        training = trainer.training
        if config.steps is not None:
            training = training.model_copy(update={"steps": config.steps})
        say(f"{trainer.name}: {trainer.learns}")
        made = aside_path(config.out / trainer.name)
        made.mkdir(parents=True)
        checkpoint = work / f"{trainer.name}.checkpoint.safetensors"
        trainer.train(training, made, checkpoint, progress)
        cards.append(_measured(trainer, training, made, config.scenes))
        shutil.rmtree(config.out / trainer.name, ignore_errors=True)
        made.rename(config.out / trainer.name)
        sync_folder(config.out)
        checkpoint.unlink()
    shutil.rmtree(work)
    return cards


def measure_perception(config: PerceptionConfig, say: Callable[[str], None]) -> list[PerceptionCard]:
    """Measure models that are there already, and write what was found into their cards.

    Raises:
        InputError: If a name of ``only`` is no trainer's, or a model has no card.
    """
    cards: list[PerceptionCard] = []
    for trainer in chosen(config.only, say):
        say(f"{trainer.name}: measuring")
        folder = config.out / trainer.name
        try:
            before = PerceptionCard.model_validate_json((folder / CARD).read_bytes())
        except OSError as error:
            raise InputError(folder / CARD, "is missing; train the model first") from error
        cards.append(_measured(trainer, before.training, folder, config.scenes))
    return cards


def chosen(only: Sequence[str], say: Callable[[str], None]) -> list[Trainer]:
    """The trainers of these names, in the table's order; none named: all, YOLO's only if it is installed.

    Raises:
        InputError: If a name is unknown.
        ModelError: If YOLO is named and not installed.
    """
    names = [trainer.name for trainer in TRAINERS]
    unknown = sorted(set(only) - set(names))
    if unknown:
        raise InputError("only", f"unknown model {', '.join(unknown)}; choose from {', '.join(names)}")
    wanted = only or names
    if "yolo" in wanted and not yolo_is_installed():
        if only:
            raise ModelError(NO_YOLO)
        say(f"yolo is left out: {NO_YOLO}")
        wanted = [name for name in names if name != "yolo"]
    return [trainer for trainer in TRAINERS if trainer.name in wanted]


def _measured(trainer: Trainer, training: TrainingConfig, folder: Path, scenes: int) -> PerceptionCard:
    card = PerceptionCard(
        model=trainer.name,
        learns=trainer.learns,
        training=training,
        scenes=scenes,
        measured={name: round(value, 4) for name, value in trainer.measure(folder, scenes).items()},
    )
    write_durably(folder / CARD, (card.model_dump_json(indent=2) + "\n").encode())
    return card
