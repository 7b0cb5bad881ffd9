"""Train a remover on a dataset version, in as many processes as there are: RORem's training, at any size."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from data_specs.errors import FlowError
from data_specs.version import DatasetVersion
from models.profiles import PROFILES, ProfileName
from models.remover import InpaintingRemover, SamplingConfig
from models.training.loop import Progress, TrainingConfig
from models.training.remover_loss import RemoverLossConfig
from models.training.running import RunningConfig
from tasks.model_store import network_at
from tasks.propose import RemoverRef
from tasks.train_remover import RemoverTraining, Trained, train_remover
from tasks.workspace import Workspace


class RemoverTrainingConfig(BaseModel):
    """What a remover is trained from and how; what is left out is the profile's."""

    model_config = ConfigDict(frozen=True)

    workspace: Path = Field(description="The folder with the ledger, the shards and the versions.")
    profile: ProfileName = Field(default="tiny", description="Whose settings stand where none are given.")
    version: int | None = Field(default=None, ge=1, description="Of the dataset; None: the current one.")
    parent: Path | None = Field(
        default=None, description="A folder with the network to begin from; None: the remover in charge."
    )
    training: TrainingConfig | None = Field(default=None, description="How long, how fast.")
    loss: RemoverLossConfig | None = Field(default=None, description="How one batch is weighed.")
    sampling: SamplingConfig | None = Field(default=None, description="How removals are sampled.")
    running: RunningConfig | None = Field(default=None, description="How it runs on these machines.")


def train_on_version(config: RemoverTrainingConfig, progress: Progress | None = None) -> Trained:
    """Train, keep the weights and enter them in the ledger; nothing is promoted.

    Raises:
        FlowError: If there is no dataset version, or no remover to begin from.
    """
    workspace, profile = Workspace.open(config.workspace), PROFILES[config.profile]
    version = version_to_train_on(workspace, config.version)
    sampling = config.sampling or profile.sampling
    work = RemoverTraining(
        name=f"remover on version {version.number}",
        parent=remover_to_begin_from(workspace, config.parent, sampling),
        version=version.number,
        version_sha256=version.sha256,
        training=config.training or profile.remover,
        loss=config.loss or profile.remover_loss,
        sampling=sampling,
    )
    return train_remover(workspace, work, progress, config.running or profile.running)


def version_to_train_on(workspace: Workspace, number: int | None) -> DatasetVersion:
    """A dataset version by number; None: the current one.

    Raises:
        FlowError: If there is none.
    """
    ledger = workspace.ledger()
    version = ledger.version(number) if number else ledger.current_version()
    if version is None:
        raise FlowError(f"{workspace.root}: there is no dataset version; run `cleanplate ingest` first")
    return version


def remover_to_begin_from(workspace: Workspace, folder: Path | None, sampling: SamplingConfig) -> RemoverRef:
    """The network in a folder; None: the remover in charge.

    Raises:
        FlowError: If no remover is in charge.
        ModelError: If the folder holds no usable network.
    """
    if folder is not None:
        remover = InpaintingRemover(network_at(folder.absolute()), sampling)
        return RemoverRef(hash=remover.model_hash, folder=str(folder.absolute()), sampling=sampling)
    champion = workspace.ledger().champion("remover")
    if champion is None:
        raise FlowError("the workspace has no remover in charge; name a network's folder with --parent")
    return RemoverRef(hash=champion.hash, folder=champion.path, sampling=sampling)
