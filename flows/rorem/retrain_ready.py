"""When to train the remover again: enough new triplets, counted in the ledger and never from events."""

from uuid import UUID

from prefect.events import emit_event
from pydantic import BaseModel, ConfigDict, Field

from data_specs.keys import derive_key
from data_specs.version import DatasetVersion
from flows.runtime.deployed import start_once
from flows.runtime.progress import say
from tasks.storage.dataset import load_samples
from tasks.storage.workspace import Workspace

READY_EVENT = "dataset.retrain-ready"


class RetrainTrigger(BaseModel):
    """How much growth asks for a retraining, and of what."""

    model_config = ConfigDict(frozen=True)

    after: int = Field(
        default=500, ge=1, le=100_000_000, description="Grown training triplets since the last training."
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
    version = workspace.ledger().current_version()
    if version is None:
        return None
    grown = grown_since_training(workspace, version)
    if grown < trigger.after:
        say(f"{grown} triplets have grown since the last training; {trigger.after} ask for the next")
        return None
    changes = {"workspace": workspace.address, "version": version.number}
    run = start_once(trigger.deployment, changes, retrain_key(version))
    if run is not None:
        say(f"{grown} triplets have grown since the last training: version {version.number} is retrained")
        _tell(version, grown)
    return run


def grown_since_training(workspace: Workspace, version: DatasetVersion) -> int:
    """Grown training triplets of the version that the version trained on last did not have."""
    last = last_trained_version(workspace)
    before = set() if last is None else {sample.key for sample in load_samples(workspace, last)}
    samples = load_samples(workspace, version.number)
    return sum(s.stage == "grown" and s.split == "train" and s.key not in before for s in samples)


def last_trained_version(workspace: Workspace) -> int | None:
    """The dataset version on which a remover was trained last; None before the first.

    A distilled one learnt its teacher's ways, and nothing that has grown.
    """
    removers = [each for each in workspace.ledger().models("remover") if "lora" not in each.settings]
    return next(
        (each.dataset_version for each in reversed(removers) if each.dataset_version is not None), None
    )


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
