"""The steps of a workspace's cycles as RORem's table 1 has them, all measured on the same pictures."""

from collections.abc import Callable, Sequence

from data_specs.comparison import PictureResult
from data_specs.round import PhaseResult
from flows.standing import PhaseOutcome
from tasks.evaluation_set import EvaluationSet, VersionSet
from tasks.workspace import Workspace

_STEPS = ("base model", "initialisation", "human %", "automation %")


def finished_steps(pictures: EvaluationSet) -> list[PhaseOutcome]:
    """The finished steps in order; where several cycles ran in the workspace, the newest of each name.

    Args:
        pictures: Pinned; a folder of triplets knows of no cycle.
    """
    if not isinstance(pictures, VersionSet):
        return []
    payloads = Workspace(pictures.workspace).ledger().phases_like(*_STEPS)
    outcomes = [PhaseOutcome.model_validate(each) for each in payloads if "result" in each]
    return list({outcome.result.name: outcome for outcome in outcomes}.values())


def step_figures(
    steps: Sequence[PhaseOutcome], measured: Callable[[str], Sequence[PictureResult]]
) -> tuple[list[PhaseResult], dict[str, float]]:
    """Each step's result, and the whole-picture PSNR in dB of the remover in charge after it, by name.

    Args:
        steps: In order.
        measured: A remover's hash → its rows; asked once a remover.
    """
    psnr = {
        hash: sum(row.values["psnr"] for row in rows) / len(rows)
        for hash in dict.fromkeys(step.standing.remover.hash for step in steps)
        for rows in [measured(hash)]
    }
    results = [step.result for step in steps]
    return results, {step.result.name: psnr[step.standing.remover.hash] for step in steps}
