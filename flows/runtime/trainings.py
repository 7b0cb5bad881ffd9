"""What all trainings by hand share: workspace, profile, processes, and the dataset version."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from data_specs.errors import FlowError
from data_specs.version import DatasetVersion
from models.profiles import FromProfile, Profiled, from_profile
from models.training.distributed import DistributedConfig
from tasks.storage.workspace import Workspace


class TrainingRunConfig(Profiled):
    """Where a training reads and writes, and how it runs. A setting that is not given is the profile's."""

    workspace: Path = Field(description="The folder with the ledger, the shards and the models.")
    distributed: Annotated[DistributedConfig, FromProfile("distributed")] = from_profile(
        "Processes, precision and memory of the training."
    )


class VersionTrainingConfig(TrainingRunConfig):
    """A training of a remover on a dataset version."""

    version: int | None = Field(
        default=None, ge=1, description="The dataset version to train on. None: the current one."
    )


def version_to_train_on(workspace: Workspace, number: int | None) -> DatasetVersion:
    """A dataset version by number; None: the current one.

    Raises:
        FlowError: If there is none.
    """
    ledger = workspace.ledger()
    version = ledger.versions.numbered(number) if number else ledger.versions.current()
    if version is None:
        raise FlowError(f"{workspace.root}: has no dataset version; run `cleanplate ingest` first")
    return version
