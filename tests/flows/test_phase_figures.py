"""A workspace's finished steps: the newest of each name, each remover measured once."""

from pathlib import Path

from data_specs.comparison import PictureResult
from data_specs.round import PhaseResult
from flows.phase_figures import finished_steps, step_figures
from flows.standing import PhaseOutcome, Standing
from models.remover import SamplingConfig
from tasks.evaluation_set import VersionSet
from tasks.ingest import FolderSource
from tasks.propose import RemoverRef
from tasks.workspace import Workspace


def outcome(name: str, remover: str, rate: float) -> PhaseOutcome:
    result = PhaseResult(
        name=name, kind="human", tested=4, kept=2, total=9, success_rate=rate, success_low=0, success_high=1,
        psnr_effect=20, psnr_background=30, promoted=True, reason="", seconds=1,
    )  # fmt: skip
    ref = RemoverRef(hash=remover, folder="f", sampling=SamplingConfig())
    return PhaseOutcome(result=result, standing=Standing(remover=ref, version=1), losses=[])


def test_the_newest_of_each_name_in_order_and_nothing_else(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "w")
    ledger = workspace.ledger()
    recorded = [
        ("old", outcome("base model", "a", 0.1)),
        ("old", outcome("human 1", "b", 0.2)),
        ("new", outcome("human 1", "c", 0.3)),
        ("new", outcome("automation 1", "c", 0.4)),
    ]
    for run, each in recorded:
        ledger.record_phase(run, f"{each.result.name}: start", each.standing.model_dump(mode="json"))
        ledger.record_phase(run, each.result.name, each.model_dump(mode="json"))
    ledger.record_phase("trainings", "training human 1", {"result": "no step"})
    steps = finished_steps(VersionSet(workspace=workspace.root, version=1))
    rates = [(step.result.name, step.result.success_rate) for step in steps]
    assert rates == [("base model", 0.1), ("human 1", 0.3), ("automation 1", 0.4)]

    asked: list[str] = []

    def measured(hash: str) -> list[PictureResult]:
        asked.append(hash)
        values = {"a": (10.0, 20.0), "c": (30.0, 40.0)}[hash]
        return [PictureResult("k", "s", "o", hash, {"psnr": value}, True, 0.1) for value in values]

    results, psnr = step_figures(steps, measured)
    assert [each.name for each in results] == ["base model", "human 1", "automation 1"]
    assert psnr == {"base model": 15.0, "human 1": 35.0, "automation 1": 35.0}
    assert asked == ["a", "c"]


def test_a_folder_has_no_steps(tmp_path: Path) -> None:
    assert finished_steps(FolderSource(path=tmp_path)) == []
