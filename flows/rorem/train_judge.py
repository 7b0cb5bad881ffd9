"""Train a judge on all that was reviewed, in as many processes as there are: RORem's, at any size."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from data_specs.errors import FlowError
from data_specs.keys import derive_key
from data_specs.shard import ShardRef
from flows.rorem.discriminator import reviewed_shards
from flows.rorem.standing import as_remover
from models.profiles import PROFILES, ProfileName
from models.rorem.discriminator import DiscriminatorConfig
from models.rorem.remover import InpaintingRemover
from models.training.distributed import RunningConfig
from models.training.loop import Progress, TrainingConfig
from tasks.registry.store import network_at
from tasks.rorem.propose import RemoverRef
from tasks.rorem.train_discriminator import JudgeTraining, TrainedJudge, train_judge
from tasks.storage.shards import ShardReader, decode_candidate
from tasks.storage.workspace import Workspace


class JudgeTrainingConfig(BaseModel):
    """What a judge is trained from and how; what is left out is the profile's."""

    model_config = ConfigDict(frozen=True)

    workspace: Path = Field(description="The folder with the ledger, the reviews and the shards.")
    profile: ProfileName = Field(default="tiny", description="Whose settings stand where none are given.")
    backbone: Path | None = Field(
        default=None, description="A network's folder to judge with; None: the workspace's first remover."
    )
    judge: DiscriminatorConfig | None = Field(default=None, description="The discriminator's shape.")
    training: TrainingConfig | None = Field(default=None, description="How long, how fast.")
    running: RunningConfig | None = Field(default=None, description="How it runs on these machines.")
    held_out_share: float = Field(
        default=0.2, gt=0, lt=1, description="Of the reviewed items: they calibrate and do not train."
    )


def train_on_reviews(config: JudgeTrainingConfig, progress: Progress | None = None) -> TrainedJudge:
    """Train, calibrate, keep the weights and enter them in the ledger.

    Raises:
        FlowError: If too little is reviewed, or there is no network to judge with.
    """
    workspace, profile = Workspace.open(config.workspace), PROFILES[config.profile]
    shards = reviewed_shards(workspace)
    if not shards:
        raise FlowError(f"{config.workspace}: nothing is reviewed; run `cleanplate round 1`, or review first")
    training = config.training or profile.judge
    work = JudgeTraining(
        name="judge on all reviews",
        backbone=_backbone(workspace, config),
        candidates=tuple(shards),
        judge=config.judge or profile.judge_shape,
        training=training,
        held_out_items=held_out(_items(workspace, shards), config.held_out_share, training.seed),
    )
    return train_judge(workspace, work, progress, config.running or profile.running)


def held_out(items: list[str], share: float, seed: int) -> tuple[str, ...]:
    """The items, in order, that calibrate: each by a draw of its own, whatever the others are."""
    return tuple(item for item in items if int(derive_key("held out", seed, item)[:8], 16) < share * 16**8)


def _items(workspace: Workspace, shards: list[ShardRef]) -> list[str]:
    with ShardReader(workspace, shards) as reader:
        return sorted({decode_candidate(sample).item for sample in reader})


def _backbone(workspace: Workspace, config: JudgeTrainingConfig) -> RemoverRef:
    sampling = PROFILES[config.profile].sampling
    if config.backbone is not None:
        folder = config.backbone.absolute()
        return RemoverRef(
            hash=InpaintingRemover(network_at(folder), sampling).model_hash,
            folder=str(folder),
            sampling=sampling,
        )
    promoted = workspace.ledger().promotions("remover")
    if not promoted:
        raise FlowError("the workspace has no remover; name a network's folder with --backbone")
    return as_remover(workspace.ledger().model(promoted[0].hash), sampling)
