"""Retrain: the remover in charge is trained on a dataset version, and replaced if it gets better by it."""

import time
from pathlib import Path

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from data_specs.assessment import QualityConfig
from data_specs.errors import FlowError
from data_specs.version import DatasetVersion
from flows.rorem.config import RoundSettings
from flows.rorem.phases import train_and_compare
from flows.rorem.retrain_ready import retrain_key
from flows.rorem.standing import PhaseOutcome, begin, finish, finished
from flows.runtime.deployed import start_once
from flows.runtime.progress import say
from flows.runtime.run_names import run_name
from flows.runtime.runs import stops_cleanly
from models.profiles import PROFILES
from models.rorem.remover import SamplingConfig
from models.training.loop import TrainingConfig
from models.training.losses.remover import RemoverLossConfig
from tasks.review.oracle import OracleConfig
from tasks.storage.workspace import Workspace

WORK = "retrain"
EVALUATION = "evaluate/evaluate"
_TINY = PROFILES["tiny"]


class RetrainConfig(BaseModel):
    """Which dataset version the remover in charge is trained on, and how."""

    model_config = ConfigDict(frozen=True)

    workspace: Path = Field(
        default=Path("workspace"), description="The folder with the ledger, the shards and the models."
    )
    version: int | None = Field(
        default=None, ge=1, description="The dataset version; None: the current one. Each is trained on once."
    )
    seed: int = Field(default=0, ge=0, description="Another seed, other noise and training order.")
    training: TrainingConfig = Field(default=_TINY.retraining, description="How long, how fast.")
    loss: RemoverLossConfig = Field(default=_TINY.retraining_loss, description="How one batch is weighed.")
    sampling: SamplingConfig = Field(default=_TINY.sampling, description="How removals are sampled.")
    quality: QualityConfig = Field(default=QualityConfig(), description="What counts as a success.")
    evaluation_origin: str = Field(
        default="",
        description="Success is measured on triplets whose origin starts so (studio:, clip:); empty: all.",
    )


def _name(config: RetrainConfig) -> str:
    return f"retrain on version {_version(config, Workspace.open(config.workspace)).number}"


@flow(name="retrain", flow_run_name=run_name(RetrainConfig, _name))
@stops_cleanly
def retrain(config: RetrainConfig) -> PhaseOutcome:
    """Train, compare with the remover in charge on validation pairs, promote the better; then evaluate.

    Started again for a version that was trained on, it trains nothing; after a kill it goes on.

    Raises:
        FlowError: If there is no dataset version, or no remover to begin from.
    """
    workspace, began = Workspace.open(config.workspace), time.monotonic()
    version = _version(config, workspace)
    name = f"version {version.number}"
    outcome = finished(workspace, WORK, name)
    if outcome is None:
        start = begin(workspace, WORK, name, config.sampling)
        train = version.by_split.get("train", 0)
        outcome = train_and_compare(
            _settings(config), workspace, "automation", name, start, version.number, train, train, began
        )
        finish(workspace, WORK, outcome)
    else:
        say(f"dataset {name} was trained on already, so nothing is trained")
    _ask_for_evaluation(workspace, version)
    return outcome


def _version(config: RetrainConfig, workspace: Workspace) -> DatasetVersion:
    ledger = workspace.ledger()
    version = ledger.current_version() if config.version is None else ledger.version(config.version)
    if version is None:
        raise FlowError(f"{config.workspace}: there is no dataset version; run `cleanplate ingest` first")
    return version


def _settings(config: RetrainConfig) -> RoundSettings:
    """The retraining in the words of a round's last steps."""
    return RoundSettings(
        workspace=config.workspace,
        seed=config.seed,
        retraining=config.training,
        loss=config.loss,
        sampling=config.sampling,
        reviewer=OracleConfig(quality=config.quality),
        evaluation_origin=config.evaluation_origin,
    )


def _ask_for_evaluation(workspace: Workspace, version: DatasetVersion) -> None:
    """Each retraining is followed by one evaluation of the remover then in charge, on the cpu pool."""
    changes = {
        "pictures": {"kind": "version", "workspace": workspace.address, "version": version.number},
        "methods": ["telea", "champion"],
        "out": f"{workspace.address}/reports/evaluation-version-{version.number}",
    }
    start_once(EVALUATION, changes, f"evaluate-after-{retrain_key(version)}")
