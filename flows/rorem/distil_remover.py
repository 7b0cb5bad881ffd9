"""Distil the remover in charge to four steps on a dataset version (papers.md, fact 7)."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from flows.rorem.train_remover import remover_to_begin_from, version_to_train_on
from models.profiles import PROFILES, ProfileName
from models.rorem.lcm_lora import LcmLoraConfig
from models.rorem.remover import SamplingConfig
from models.training.distributed import RunningConfig
from models.training.loop import Progress, TrainingConfig
from models.training.losses.lcm import LcmLossConfig
from tasks.rorem.distill import Distillation, distil_remover
from tasks.rorem.train_remover import Trained
from tasks.storage.workspace import Workspace


class DistillationConfig(BaseModel):
    """Which remover is distilled, on what and how; what is left out is the profile's."""

    model_config = ConfigDict(frozen=True)

    workspace: Path = Field(description="The folder with the ledger, the shards and the versions.")
    profile: ProfileName = Field(default="tiny", description="Whose settings stand where none are given.")
    version: int | None = Field(default=None, ge=1, description="Of the dataset; None: the current one.")
    teacher: str | None = Field(
        default=None,
        description="What to distil: a network's folder, or the hash of a model of the workspace; None: the "
        "remover in charge.",
    )
    training: TrainingConfig | None = Field(default=None, description="How long, how fast.")
    loss: LcmLossConfig | None = Field(default=None, description="The teacher's path and guidance.")
    lora: LcmLoraConfig | None = Field(default=None, description="What is trained.")
    sampling: SamplingConfig | None = Field(
        default=None, description="How removals of the distilled remover are sampled."
    )
    running: RunningConfig | None = Field(default=None, description="How it runs on these machines.")


def distil_on_version(config: DistillationConfig, progress: Progress | None = None) -> Trained:
    """Distil, keep the weights and enter them in the ledger; nothing is promoted.

    Raises:
        FlowError: If there is no dataset version, or no remover to distil.
    """
    workspace, profile = Workspace.open(config.workspace), PROFILES[config.profile]
    version = version_to_train_on(workspace, config.version)
    work = Distillation(
        name=f"distilled on version {version.number}",
        parent=remover_to_begin_from(workspace, config.teacher, profile.sampling),
        version=version.number,
        version_sha256=version.sha256,
        training=config.training or profile.distillation,
        loss=config.loss or profile.distillation_loss,
        lora=config.lora or profile.lora,
        sampling=config.sampling or profile.distilled_sampling,
    )
    return distil_remover(workspace, work, progress, config.running or profile.running)
