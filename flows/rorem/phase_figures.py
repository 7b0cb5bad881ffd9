"""The steps of a workspace's cycles as RORem's table 1 has them, with the PSNR that was measured beside."""

from typing import NamedTuple

from data_specs.round import PhaseResult
from flows.rorem.standing import PhaseOutcome
from tasks.evaluation.test_set import EvaluationSet, VersionSet
from tasks.storage.ledger import Ledger
from tasks.storage.workspace import Workspace

_STEPS = ("base model", "initialisation", "human %", "automation %")


class StepFigures(NamedTuple):
    """What a cycle's steps found on their own test pictures."""

    results: list[PhaseResult]
    """In order."""
    psnr: dict[str, float]
    """Step's name → whole-picture dB of the remover in charge after it; absent where it was not measured."""
    measured_on: str
    """Those pictures, for people; empty where no step has a PSNR."""


def step_figures(pictures: EvaluationSet) -> StepFigures:
    """The finished steps; where several cycles ran in the workspace, the newest of each name.

    Args:
        pictures: Pinned; a folder of triplets knows of no cycle.
    """
    if not isinstance(pictures, VersionSet):
        return StepFigures([], {}, "")
    ledger = Workspace(pictures.workspace).ledger()
    outcomes = [PhaseOutcome.model_validate(each) for each in ledger.phases_like(*_STEPS) if "result" in each]
    steps = {outcome.result.name: outcome for outcome in outcomes}
    psnr: dict[str, float] = {}
    places: list[str] = []
    for name, step in steps.items():
        for measured_on, number in _psnr_of(ledger, step):
            psnr[name] = number
            places.append(measured_on)
    return StepFigures([step.result for step in steps.values()], psnr, ", ".join(dict.fromkeys(places)))


def _psnr_of(ledger: Ledger, step: PhaseOutcome) -> list[tuple[str, float]]:
    """Where the step's own measurement was made, and its PSNR: it is the one with the step's success rate."""
    return [
        (each.measured_on, each.values["psnr"])
        for each in ledger.measurements(step.standing.remover.hash)
        if each.measured_on.startswith("test split")
        and each.values.get("success_rate") == step.result.success_rate
        and "psnr" in each.values
    ][-1:]
