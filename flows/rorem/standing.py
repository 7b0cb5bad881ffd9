"""Where a phase starts from: the remover in charge and the dataset version, remembered once it began."""

from typing import Self

from pydantic import BaseModel, ConfigDict

from data_specs.errors import FlowError
from data_specs.model_record import ModelRecord
from data_specs.round import PhaseResult
from flows.runtime.progress import say
from models.rorem.remover import SamplingConfig
from tasks.rorem.propose import RemoverRef
from tasks.storage.workspace import Workspace


class Standing(BaseModel):
    """A champion and a dataset version."""

    model_config = ConfigDict(frozen=True)

    remover: RemoverRef
    version: int | None


class PhaseOutcome(BaseModel):
    """What a finished phase leaves in the ledger."""

    model_config = ConfigDict(frozen=True)

    result: PhaseResult
    standing: Standing
    losses: list[float]

    def because(self, reason: str) -> Self:
        """The same outcome, its reason opened by why nothing grew."""
        result = self.result.model_copy(update={"reason": f"{reason}; {self.result.reason}"})
        return self.model_copy(update={"result": result})


def as_remover(entry: ModelRecord, sampling: SamplingConfig) -> RemoverRef:
    """A recorded remover as tasks name it."""
    return RemoverRef(hash=entry.hash, folder=entry.path, sampling=sampling)


def begin(workspace: Workspace, run: str, phase: str, sampling: SamplingConfig) -> Standing:
    """Where the phase starts. Asked again after a kill it gives the same answer, whatever came since.

    Raises:
        FlowError: If the workspace has no remover yet.
    """
    ledger = workspace.ledger()
    name = f"{phase}: start"
    champion = ledger.champion("remover")
    if champion is None:
        raise FlowError("this workspace has no remover yet; run `cleanplate cycle` first")
    current = ledger.current_version()
    now = Standing(remover=as_remover(champion, sampling), version=current.number if current else None)
    ledger.record_phase(run, name, now.model_dump(mode="json"))
    return Standing.model_validate(ledger.phase(run, name))


def finished(workspace: Workspace, run: str, phase: str) -> PhaseOutcome | None:
    """The phase's outcome if an earlier run completed it."""
    known = workspace.ledger().phase(run, phase)
    return None if known is None else PhaseOutcome.model_validate(known)


def finish(workspace: Workspace, run: str, outcome: PhaseOutcome) -> PhaseOutcome:
    """Record the outcome: the phase's last act."""
    workspace.ledger().record_phase(run, outcome.result.name, outcome.model_dump(mode="json"))
    result = outcome.result
    verdict = "promoted" if result.promoted else "not promoted"
    say(
        f"{result.name}: {result.kept} kept of {result.tested}, {result.total} in the training set; "
        f"success {result.success_rate:.1%} ({verdict}: {result.reason}), {result.seconds:.0f} s"
    )
    return outcome
