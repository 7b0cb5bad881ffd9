"""Train ObjectClear on a dataset version, at any size, in as many processes as there are."""

from pathlib import Path
from typing import Annotated

from prefect import flow
from pydantic import Field

from data_specs.errors import FlowError
from flows.runtime.runs import fail_cleanly
from flows.runtime.trainings import VersionTrainingConfig, version_to_train_on
from models.objectclear.remover import ObjectClearRemover
from models.profiles import FromProfile, from_profile
from models.training.loop import TrainingConfig
from models.training.losses.object_clear import ObjectClearLossConfig
from tasks.objectclear.train_on_version import (
    ObjectClearTraining,
    Start,
    TrainedObjectClear,
    pipeline_to_train,
    train_on_version,
)
from tasks.registry.removers import OBJECT_CLEAR_FOLDER
from tasks.storage.workspace import Workspace
from tasks.training.progress import training_progress


class ObjectClearRunConfig(VersionTrainingConfig):
    """What ObjectClear is trained from, and how. A setting that is not given is the profile's."""

    parent: Path | None = Field(
        default=None,
        description="The folder where training starts: SDXL-inpainting as published, or an ObjectClear. "
        "None, at tiny size only: the shipped ObjectClear.",
    )
    image_encoder: Path | None = Field(
        default=None,
        description="The folder of CLIP's image encoder, with SDXL-inpainting as the parent. The papers use "
        "ViT-L/14.",
    )
    training: Annotated[TrainingConfig, FromProfile("object_clear")] = from_profile(
        "Number of steps, batch size and learning rate."
    )
    loss: Annotated[ObjectClearLossConfig, FromProfile("object_clear_loss")] = from_profile(
        "Weights of the losses."
    )


@flow(name="train-object-clear", flow_run_name="train ObjectClear, {config.profile}")
@fail_cleanly
def train_object_clear_on_version(config: ObjectClearRunConfig) -> TrainedObjectClear:
    """Train, keep the weights and enter them in the ledger; nothing is promoted.

    Raises:
        FlowError: If there is no dataset version, no parent, or no image encoder where one is needed.
        ModelError: If a folder of weights cannot be used.
    """
    workspace = Workspace.open(config.workspace)
    version = version_to_train_on(workspace, config.version)
    start = Start(_parent(config), config.image_encoder, config.training.seed)
    pipeline = pipeline_to_train(start)
    work = ObjectClearTraining(
        name=f"ObjectClear on version {version.number}",
        parent=ObjectClearRemover(pipeline).model_hash,
        version=version.number,
        version_sha256=version.sha256,
        training=config.training,
        loss=config.loss,
        guidance_scale=pipeline.config["guidance_scale"],
        num_inference_steps=pipeline.config["num_inference_steps"],
    )
    with training_progress(f"training {work.name}") as progress:
        return train_on_version(workspace, work, start, progress, config.distributed)


def _parent(config: ObjectClearRunConfig) -> Path:
    if config.parent is not None:
        return config.parent
    if config.profile != "tiny":
        raise FlowError(
            f"the profile {config.profile} has no shipped ObjectClear; name SDXL-inpainting with --parent "
            "and CLIP with --image-encoder"
        )
    return OBJECT_CLEAR_FOLDER
