"""Run a training once: read a finished one, continue a killed one, and keep the result in one process."""

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict

from data_specs.result import ResultKind
from models.training.distributed import first_process_first
from models.training.loop import Progress
from tasks.registry.store import drop_checkpoint, keep_model
from tasks.storage.workspace import Workspace
from tasks.training.processes import launch, launches

Network = TypeVar("Network")
"""What a training holds in memory at its end."""
Trained = TypeVar("Trained", bound="TrainedModel")


class TrainingWork(BaseModel):
    """Everything that decides the weights of a training. Each kind of training adds its own inputs."""

    model_config = ConfigDict(frozen=True)

    name: str
    """A label for people. It does not count in the digest."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """The name of the work."""


class TrainedModel(BaseModel):
    """The result of a training, as the ledger keeps it. Each kind of training adds its own model."""

    model_config = ConfigDict(frozen=True)

    KIND: ClassVar[ResultKind] = "weights_training"
    """The kind of the ledger's result."""

    @property
    @abstractmethod
    def weights_folder(self) -> str:
        """The folder of the weights, relative to the workspace."""


class Processes(NamedTuple):
    """Processes that a training needs. None is started where a launcher has started them already."""

    number: int
    train: Callable[[Progress], object]
    """The same training, for ``launch``."""
    progress: Progress | None


class TrainedWeights(TrainedModel):
    """Weights that are no model of the workspace, such as those that ship with the package."""

    folder: str

    @property
    def weights_folder(self) -> str:
        """See ``TrainedModel``."""
        return self.folder


def work_folder(out: Path) -> Path:
    """The workspace of a training that writes the folder ``out``. It is removed once ``out`` is written."""
    return out.with_name(f"{out.name}.work")


def keep_weights(workspace: Workspace, digest: str, save: Callable[[Path], None]) -> TrainedWeights:
    """Save weights under the digest of their work. See ``keep_model``."""
    return TrainedWeights(folder=keep_model(workspace, digest, save).relative_to(workspace.root).as_posix())


def run_training(
    workspace: Workspace,
    digest: str,
    kind: type[Trained],
    train: Callable[[Path], Network],
    keep: Callable[[Network], Trained],
    others: Processes | None = None,
) -> Trained:
    """Train, unless the ledger has the result and its weights still exist.

    A killed training continues from its checkpoint. If a launcher starts it in several processes, they train
    together. The first one keeps the result, and the others read it from the ledger.

    Args:
        workspace: The workspace to write to.
        digest: Names the work: parent, data, settings.
        kind: The type of the result.
        train: Called with the path of the checkpoint.
        keep: Saves what ``train`` returned, and returns the result. Called in one process.
        others: The processes that shall train in place of this one. None: this one trains.
    """
    recorded = _known(workspace, digest, kind)
    if recorded is None and others is not None and launches(others.number):
        launch(others.number, others.train, others.progress)
        recorded = _known(workspace, digest, kind)
        assert recorded is not None, "the first process recorded it"
    if recorded is not None:
        return recorded
    network = train(_checkpoint_of(workspace, digest))
    with first_process_first():
        recorded = _known(workspace, digest, kind)
        if recorded is not None:
            return recorded
        result = keep(network)
        workspace.ledger().results.record(kind.KIND, digest, result)
        drop_checkpoint(_checkpoint_of(workspace, digest))
        return result


def _checkpoint_of(workspace: Workspace, digest: str) -> Path:
    return workspace.models_dir / f"{digest}.checkpoint.safetensors"


def _known(workspace: Workspace, digest: str, kind: type[Trained]) -> Trained | None:
    """The training as the ledger records it, if its weights still exist. Else None."""
    result = workspace.ledger().results.get(kind.KIND, digest, kind)
    if result is None or not workspace.fetched(result.weights_folder).is_dir():
        return None
    drop_checkpoint(_checkpoint_of(workspace, digest))
    return result
