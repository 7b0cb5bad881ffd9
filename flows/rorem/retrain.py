"""Retrain: the remover in charge is trained on a dataset version, and replaced if it gets better by it."""

import time
from pathlib import Path
from typing import Annotated
from uuid import UUID

from prefect import flow
from prefect.events import emit_event
from pydantic import BaseModel, ConfigDict, Field

from data_specs.assessment import QualityConfig
from data_specs.errors import FlowError
from data_specs.keys import derive_key
from data_specs.version import DatasetVersion
from flows.rorem.config import Retraining, SuccessMeasure
from flows.rorem.phases import Growth, PhaseOutcome, Step, begin, finish, finished, train_and_compare
from flows.runtime.runs import fail_cleanly, run_name, start_once
from flows.runtime.shards import say
from models.profiles import FromProfile, Profiled, from_profile
from models.rorem.remover import SamplingConfig
from models.training.distributed import DistributedConfig
from models.training.loop import TrainingConfig
from models.training.losses.remover import RemoverLossConfig
from tasks.storage.dataset import load_samples
from tasks.storage.workspace import Workspace

# When to train the remover again: enough new triplets, counted in the ledger and never from events.

READY_EVENT = "dataset.retrain-ready"


class RetrainTrigger(BaseModel):
    """How much growth asks for a retraining, and of what."""

    model_config = ConfigDict(frozen=True)

    after: int = Field(
        default=500,
        ge=1,
        le=100_000_000,
        description="Number of grown training triplets since the last training that starts the next one.",
    )
    deployment: str = Field(
        default="retrain/retrain",
        pattern="^[^/]+/[^/]+$",
        description="The deployment to start, as flow/deployment.",
    )


def ask_for_retraining(workspace: Workspace, trigger: RetrainTrigger) -> UUID | None:
    """Start the retraining of the current version where enough has grown; the same version starts one run.

    Returns:
        The run; None where there is too little, or no such deployment.
    """
    version = workspace.ledger().versions.current()
    if version is None:
        return None
    grown = grown_since_training(workspace, version)
    if grown < trigger.after:
        say(f"{grown} triplets have grown since the last training; the next one starts at {trigger.after}")
        return None
    changes = {"workspace": workspace.address, "version": version.number}
    run = start_once(trigger.deployment, changes, retrain_key(version))
    if run is not None:
        say(f"{grown} triplets have grown since the last training; version {version.number} is trained on")
        _tell(version, grown)
    return run


def grown_since_training(workspace: Workspace, version: DatasetVersion) -> int:
    """Grown training triplets of the version that the version trained on last did not have."""
    last = workspace.ledger().models.last_trained_version()
    before = set() if last is None else {sample.key for sample in load_samples(workspace, last)}
    samples = load_samples(workspace, version.number)
    return sum(s.stage == "grown" and s.split == "train" and s.key not in before for s in samples)


def retrain_key(version: DatasetVersion) -> str:
    """The idempotency key of a version's retraining; another workspace's version 3 has another."""
    return f"retrain-{version.number}-{derive_key('retrain', version.sha256, version.created_at.isoformat())}"


def _tell(version: DatasetVersion, grown: int) -> None:
    """For whoever listens; nothing here waits for it. The id is derived, so it is one event."""
    emit_event(
        READY_EVENT,
        resource={"prefect.resource.id": f"cleanplate.dataset-version.{version.number}"},
        payload={"version": version.number, "grown": grown},
        id=UUID(derive_key(READY_EVENT, retrain_key(version)).ljust(32, "0")),
    )


WORK = "retrain"
EVALUATION = "evaluate/evaluate"


class RetrainConfig(Profiled):
    """Which dataset version the remover in charge is trained on, and how."""

    workspace: Path = Field(
        default=Path("workspace"), description="The folder with the ledger, the shards and the models."
    )
    version: int | None = Field(
        default=None,
        ge=1,
        description="The dataset version. None: the current one. Each version is trained on once.",
    )
    seed: int = Field(default=0, ge=0, description="Seed of noise and training order.")
    training: Annotated[TrainingConfig, FromProfile("retraining")] = from_profile(
        "Steps, batch size and learning rate."
    )
    loss: Annotated[RemoverLossConfig, FromProfile("retraining_loss")] = from_profile(
        "Loss of the remover's training."
    )
    sampling: Annotated[SamplingConfig, FromProfile("sampling")] = from_profile(
        "How the remover samples removals."
    )
    distributed: Annotated[DistributedConfig, FromProfile("distributed")] = from_profile(
        "Processes, precision and memory of the training."
    )
    quality: QualityConfig = Field(default=QualityConfig(), description="The definition of a success.")
    evaluation_source: str = Field(
        default="",
        description="Success is measured on triplets whose origin starts with this text, such as `clip:`. "
        "Empty: all triplets.",
    )


def _name(config: RetrainConfig) -> str:
    return f"retrain on version {_version(config, Workspace.open(config.workspace)).number}"


@flow(name="retrain", flow_run_name=run_name(RetrainConfig, _name))
@fail_cleanly
def retrain(config: RetrainConfig) -> PhaseOutcome:
    """Train, compare with the remover in charge on validation pairs, promote the better; then evaluate.

    Started again for a version that was trained on, it trains nothing; after a kill it goes on.

    Raises:
        FlowError: If there is no dataset version, or no remover to begin from.
    """
    workspace, began = Workspace.open(config.workspace), time.monotonic()
    version = _version(config, workspace)
    step = Step(WORK, f"version {version.number}")
    outcome = finished(workspace, step, "retraining")
    if outcome is None:
        start = begin(workspace, step, config.sampling)
        training = Retraining(config.seed, config.training, config.loss, config.sampling, config.distributed)
        success = SuccessMeasure(config.quality, config.evaluation_source)
        trained = train_and_compare(workspace, step.name, start, version.number, training, success)
        pairs = trained.trained_on
        growth = Growth(pairs, pairs)
        outcome = finish(workspace, step, "automation", trained, growth, began, "retraining")
    else:
        say(f"dataset {step.name} was trained on already, so nothing is trained")
    _ask_for_evaluation(workspace, version)
    return outcome


def _version(config: RetrainConfig, workspace: Workspace) -> DatasetVersion:
    ledger = workspace.ledger()
    version = (
        ledger.versions.current() if config.version is None else ledger.versions.numbered(config.version)
    )
    if version is None:
        raise FlowError(f"{config.workspace}: has no dataset version; run `cleanplate ingest` first")
    return version


def _ask_for_evaluation(workspace: Workspace, version: DatasetVersion) -> None:
    """Each retraining is followed by one evaluation of the remover then in charge, on the cpu pool."""
    changes = {
        "images": {"kind": "version", "workspace": workspace.address, "version": version.number},
        "methods": ["telea", "champion"],
        "out": f"{workspace.address}/reports/evaluation-version-{version.number}",
    }
    start_once(EVALUATION, changes, f"evaluate-after-{retrain_key(version)}")
