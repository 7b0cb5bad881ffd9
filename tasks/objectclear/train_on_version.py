"""Train ObjectClear's network on a dataset version: captured pairs, OBER's and composites (fact 18)."""

from functools import partial
from pathlib import Path
from typing import ClassVar, NamedTuple

from data_specs.errors import FlowError, ModelError
from data_specs.keys import derive_key
from data_specs.losses import TrainingLosses
from data_specs.result import ResultKind
from models.diffusion.checkpoints import published_folder
from models.objectclear.from_sdxl import object_clear_from_sdxl
from models.objectclear.network import ObjectClearNetwork
from models.objectclear.pipeline import ObjectClearPipeline
from models.objectclear.remover import ObjectClearRemover
from models.training.distributed import DistributedConfig
from models.training.loop import Progress, TrainingConfig
from models.training.losses.object_clear import ObjectClearLossConfig
from tasks.objectclear.train_model import fit_object_clear
from tasks.registry.removers import is_object_clear_folder
from tasks.registry.store import keep_model, record
from tasks.storage.workspace import Workspace
from tasks.training.run import Processes, TrainedModel, TrainingWork, run_training
from tasks.training.version_data import training_triplets, version_reader


class ObjectClearTraining(TrainingWork):
    """Everything that decides the weights."""

    parent: str
    """Hash of the ObjectClear that training starts from, by its weights and sampling."""
    version: int
    version_sha256: str
    """SHA-256 of the version's sample list."""
    training: TrainingConfig
    loss: ObjectClearLossConfig
    guidance_scale: float
    """How the trained network is sampled, like the next one."""
    num_inference_steps: int

    @property
    def digest(self) -> str:
        """The name of the work. The label and the version's number do not count."""
        return derive_key("ObjectClear training", self.model_dump_json(exclude={"name", "version"}))


class TrainedObjectClear(TrainedModel):
    """A trained ObjectClear and its losses."""

    KIND: ClassVar[ResultKind] = "object_clear_training"

    hash: str
    """The model's name in the ledger."""
    folder: str
    """Relative to the workspace. A pipeline's folder, which ``cleanplate remove --model`` takes."""
    losses: TrainingLosses

    @property
    def weights_folder(self) -> str:
        """See ``TrainedModel``."""
        return self.folder


class Start(NamedTuple):
    """Where a training starts."""

    parent: Path
    """A folder of ObjectClear, which is trained further, or SDXL-inpainting as published."""
    image_encoder: Path | None
    """CLIP's folder, for SDXL. ObjectClear's folder has its own."""
    seed: int
    """Seed of a new object token."""


def pipeline_to_train(start: Start) -> ObjectClearPipeline:
    """The network that training starts from, and how it is sampled.

    Raises:
        FlowError: If the image encoder is missing or not needed.
        ModelError: If a folder cannot be used.
    """
    parent = published_folder(start.parent)
    image_encoder = None if start.image_encoder is None else published_folder(start.image_encoder)
    if not parent.is_dir():
        raise ModelError(f"{parent}: is no folder; name one of ObjectClear or of SDXL-inpainting")
    if is_object_clear_folder(parent):
        if image_encoder is not None:
            raise FlowError(f"{parent}: ObjectClear has its own image encoder; leave out --image-encoder")
        return ObjectClearPipeline.from_pretrained(parent)
    if image_encoder is None:
        raise FlowError(
            f"{parent}: is no folder of ObjectClear; to begin from SDXL-inpainting, name CLIP's folder with "
            "--image-encoder"
        )
    return ObjectClearPipeline.of_network(object_clear_from_sdxl(parent, image_encoder, start.seed))


def train_on_version(
    workspace: Workspace,
    work: ObjectClearTraining,
    start: Start,
    progress: Progress | None = None,
    distributed: DistributedConfig | None = None,
) -> TrainedObjectClear:
    """Train on the version's training triplets, as ``run_training`` does.

    M_fg is the stored one of composites and OBER's samples. For other triplets it is derived.

    Args:
        workspace: The workspace of the version.
        work: Names the weights.
        start: Gives the network of ``work.parent``.
        progress: Called after every step.
        distributed: How the training runs on this machine.

    Returns:
        The model. The ledger records it; it is not promoted.

    Raises:
        FlowError: If the version has no training sample.
    """
    distributed = distributed or DistributedConfig()

    def fit(checkpoint: Path) -> tuple[ObjectClearNetwork, list[float]]:
        network = pipeline_to_train(start).network
        with version_reader(workspace, work.version) as data:
            triplets, groups = training_triplets(data)
            losses = fit_object_clear(
                network, triplets, groups, work.training, work.loss, checkpoint, progress, distributed
            )
        return network, losses

    def keep(fitted: tuple[ObjectClearNetwork, list[float]]) -> TrainedObjectClear:
        network, losses = fitted
        pipeline = ObjectClearPipeline.of_network(
            network, guidance_scale=work.guidance_scale, num_inference_steps=work.num_inference_steps
        )
        folder = keep_model(workspace, work.digest, pipeline.save_pretrained)
        entry = record(
            workspace,
            kind="object-clear",
            model_hash=ObjectClearRemover(pipeline).model_hash,
            folder=folder,
            parent=work.parent,
            dataset_version=work.version,
            metrics={"loss": sum(losses[-20:]) / len(losses[-20:])},
            settings=work.model_dump(
                mode="json", include={"training", "loss", "guidance_scale", "num_inference_steps"}
            ),
        )
        return TrainedObjectClear(hash=entry.hash, folder=entry.path, losses=TrainingLosses.of(losses))

    again = partial(train_on_version, workspace, work, start, distributed=distributed)
    processes = Processes(distributed.processes, again, progress)
    return run_training(workspace, work.digest, TrainedObjectClear, fit, keep, processes)
