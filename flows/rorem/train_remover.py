"""Train a remover on a dataset version, in as many processes as there are: RORem's training, at any size."""

from typing import Annotated

from prefect import flow
from pydantic import Field

from data_specs.errors import FlowError
from flows.runtime.runs import fail_cleanly
from flows.runtime.trainings import VersionTrainingConfig, version_to_train_on
from models.diffusion.checkpoints import published_folder
from models.profiles import FromProfile, from_profile
from models.rorem.lcm_lora import LcmLoraConfig
from models.rorem.remover import InpaintingRemover, SamplingConfig
from models.training.loop import TrainingConfig
from models.training.losses.lcm import LcmLossConfig
from models.training.losses.remover import RemoverLossConfig
from tasks.registry.removers import RemoverRef
from tasks.registry.store import check_weights, network_at
from tasks.rorem.distill import Distillation, distil_remover
from tasks.rorem.train_remover import RemoverTraining, TrainedRemover, train_remover
from tasks.storage.workspace import Workspace
from tasks.training.progress import training_progress


class RemoverTrainingConfig(VersionTrainingConfig):
    """What a remover is trained from, and how."""

    parent: str | None = Field(
        default=None,
        description="The network where training starts: a folder, or the hash of a workspace's model. "
        "None: the champion.",
    )
    training: Annotated[TrainingConfig, FromProfile("remover")] = from_profile(
        "Number of steps, batch size and learning rate."
    )
    loss: Annotated[RemoverLossConfig, FromProfile("remover_loss")] = from_profile(
        "Loss of the remover's training."
    )
    sampling: Annotated[SamplingConfig, FromProfile("sampling")] = from_profile(
        "How removals of the trained remover are sampled."
    )


@flow(name="train-remover", flow_run_name="train a remover, {config.profile}")
@fail_cleanly
def train_on_version(config: RemoverTrainingConfig) -> TrainedRemover:
    """Train, keep the weights and enter them in the ledger; nothing is promoted.

    Raises:
        FlowError: If there is no dataset version, or no remover to begin from.
        LedgerError: If the parent is neither a folder nor a model of the workspace.
        ModelError: If the parent's weights are missing or others than were entered.
    """
    workspace = Workspace.open(config.workspace)
    version = version_to_train_on(workspace, config.version)
    work = RemoverTraining(
        name=f"remover on version {version.number}",
        parent=remover_to_begin_from(workspace, config.parent, config.sampling),
        version=version.number,
        version_sha256=version.sha256,
        training=config.training,
        loss=config.loss,
        sampling=config.sampling,
    )
    with training_progress(f"training {work.name}") as progress:
        return train_remover(workspace, work, progress, config.distributed)


def remover_to_begin_from(workspace: Workspace, parent: str | None, sampling: SamplingConfig) -> RemoverRef:
    """The network in a folder or on the hub, or a model of the workspace by its hash; None: the champion.

    Raises:
        FlowError: If no remover is in charge, or the model is none.
        LedgerError: If the parent is neither a folder nor a model of the workspace.
        ModelError: If its weights are missing or others than were entered.
    """
    folder = None if parent is None else published_folder(parent)
    if folder is not None and folder.is_dir():
        folder = folder.absolute()
        remover = InpaintingRemover(network_at(folder), sampling)
        return RemoverRef(hash=remover.model_hash, folder=str(folder), sampling=sampling)
    ledger = workspace.ledger()
    model = ledger.models.champion("remover") if parent is None else ledger.models.named(parent)
    if model is None:
        raise FlowError("the workspace has no champion; name a network's folder, or a model by its hash")
    if model.kind != "remover":
        raise FlowError(f"model {model.hash} is a {model.kind}; name a remover")
    check_weights(workspace.fetched(model.path), model)
    return RemoverRef(hash=model.hash, folder=model.path, sampling=sampling)


# Distil the remover in charge to four steps on a dataset version (papers.md, fact 7).


class DistillationConfig(VersionTrainingConfig):
    """Which remover is distilled, and how."""

    teacher: str | None = Field(
        default=None,
        description="The teacher: a network's folder, or the hash of a workspace's model. None: the "
        "champion.",
    )
    training: Annotated[TrainingConfig, FromProfile("distillation")] = from_profile(
        "Number of steps, batch size and learning rate."
    )
    loss: Annotated[LcmLossConfig, FromProfile("distillation_loss")] = from_profile(
        "Path and guidance of the teacher."
    )
    lora: Annotated[LcmLoraConfig, FromProfile("lora")] = from_profile("The LoRA that is trained.")
    teacher_sampling: Annotated[SamplingConfig, FromProfile("sampling")] = from_profile(
        "How the teacher samples. It names the teacher, and does not change the training."
    )
    sampling: Annotated[SamplingConfig, FromProfile("distilled_sampling")] = from_profile(
        "How removals of the distilled remover are sampled."
    )


@flow(name="train-distilled", flow_run_name="distil a remover, {config.profile}")
@fail_cleanly
def distil_on_version(config: DistillationConfig) -> TrainedRemover:
    """Distil, keep the weights and enter them in the ledger; nothing is promoted.

    Raises:
        FlowError: If there is no dataset version, or no remover to distil.
    """
    workspace = Workspace.open(config.workspace)
    version = version_to_train_on(workspace, config.version)
    work = Distillation(
        name=f"distilled on version {version.number}",
        parent=remover_to_begin_from(workspace, config.teacher, config.teacher_sampling),
        version=version.number,
        version_sha256=version.sha256,
        training=config.training,
        loss=config.loss,
        lora=config.lora,
        sampling=config.sampling,
    )
    with training_progress(f"training {work.name}") as progress:
        return distil_remover(workspace, work, progress, config.distributed)
