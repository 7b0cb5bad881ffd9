"""Make the shipped base again: images with objects, holes to fill, and the better part of an hour."""

import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from data_specs.errors import InputError, ModelError
from data_specs.keys import derive_key
from data_specs.triplet import Triplet
from flows.runtime.runs import fail_cleanly
from flows.runtime.shards import say
from models.diffusion.inpainting import InpaintingNetwork
from models.perception.yolo import NO_YOLO, yolo_is_installed
from models.training.loop import TrainingConfig
from tasks.sources.clip.clip import ClipConfig, clip_triplets
from tasks.sources.synthetic.samples import SyntheticConfig, synthetic_triplets
from tasks.sources.synthetic.scene import World
from tasks.storage.atomic_files import replaced_folder, write_durably
from tasks.storage.workspace import Workspace
from tasks.training.base import train_base
from tasks.training.perception.trainers import TRAINERS, Trainer
from tasks.training.progress import training_progress
from tasks.training.run import TrainedWeights, keep_weights, run_training, work_folder

_SYNTHETIC_SEED = 900
"""Scenes of the base; cycles use other seeds."""


class BaseConfig(BaseModel):
    """What the base learns from, and how long; the defaults made the shipped one."""

    model_config = ConfigDict(frozen=True)

    out: Path = Field(description="The folder to write. A cycle reads models/weights/base.")
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


@flow(name="train-base", flow_run_name="train the base")
@fail_cleanly
def make_base(config: BaseConfig) -> None:
    """Render, fit the codec, train, and write ``out``; goes on from its checkpoint after a kill.

    Only training images are looked at: the clip's validation and test blocks stay unseen.
    """
    workspace = Workspace.open(work_folder(config.out))
    digest = derive_key("base training", config.model_dump_json(exclude={"out"}))

    def fit(checkpoint: Path) -> InpaintingNetwork:
        images = _base_images(config)
        with training_progress(f"training the base on {len(images)} images") as progress:
            return train_base(images, config.training, checkpoint=checkpoint, progress=progress)

    def keep(network: InpaintingNetwork) -> TrainedWeights:
        return keep_weights(workspace, digest, network.save_small)

    trained = run_training(workspace, digest, TrainedWeights, fit, keep)
    with replaced_folder(config.out) as folder:
        _copy(workspace.fetched(trained.folder), folder)


def _base_images(config: BaseConfig) -> list[Triplet]:
    say(f"rendering {config.synthetic_images} synthetic images")
    renderer = SyntheticConfig(world=World(), seed=_SYNTHETIC_SEED)
    images = list(synthetic_triplets(renderer, range(config.synthetic_images)))
    say("reading the sample clip")
    triplets = [item for item in clip_triplets(ClipConfig()) if isinstance(item, Triplet)]
    return images + [item for item in triplets if item.split == "train"] * config.clip_repeats


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


@flow(name="train-perception", flow_run_name="train perception")
@fail_cleanly
def make_perception(config: PerceptionConfig) -> list[PerceptionCard]:
    """Train and measure each model; killed and started again, it goes on where it stood.

    A model's folder appears whole, with its card, and then takes the place of an older one.

    Raises:
        InputError: If a name of ``only`` is no trainer's.
        ModelError: If YOLO is named and not installed.
    """
    workspace = Workspace.open(work_folder(config.out))
    return [_made(workspace, config, trainer) for trainer in chosen(config.only, say)]


def _made(workspace: Workspace, config: PerceptionConfig, trainer: Trainer) -> PerceptionCard:
    say(f"{trainer.name}: {trainer.learns}")
    training = trainer.training
    if config.steps is not None:
        training = training.model_copy(update={"steps": config.steps})
    digest = derive_key("perception training", trainer.name, training.model_dump_json())
    with TemporaryDirectory() as files:

        def fit(checkpoint: Path) -> Path:
            with training_progress(f"training {trainer.name}") as progress:
                trainer.train(training, Path(files), checkpoint, progress)
            return Path(files)

        def keep(made: Path) -> TrainedWeights:
            return keep_weights(workspace, digest, partial(_copy, made))

        trained = run_training(workspace, digest, TrainedWeights, fit, keep)
    with replaced_folder(config.out / trainer.name) as folder:
        _copy(workspace.fetched(trained.folder), folder)
        return _measured(trainer, training, folder, config.scenes)


def _copy(files: Path, folder: Path) -> None:
    shutil.copytree(files, folder, dirs_exist_ok=True)


def measure_perception(config: PerceptionConfig) -> list[PerceptionCard]:
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
