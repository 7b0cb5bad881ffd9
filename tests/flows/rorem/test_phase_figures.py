"""A workspace's finished phases: the newest of each name, with its own figures."""

from pathlib import Path

from data_specs.losses import TrainingLosses
from data_specs.round import PhaseResult
from flows.rorem.phases import PhaseOutcome, PhaseStart, ended_phases
from models.rorem.remover import SamplingConfig
from tasks.evaluation.test_set import VersionSet
from tasks.registry.removers import RemoverRef
from tasks.sources.readers import FolderSource
from tasks.storage.workspace import Workspace


def outcome(name: str, rate: float, psnr: float | None) -> PhaseOutcome:
    result = PhaseResult(
        name=name, kind="human", tested=4, kept=2, total=9, success_rate=rate, success_low=0, success_high=1,
        psnr_effect=20, psnr_background=30, psnr=psnr, promoted=True, reason="", seconds=1,
    )  # fmt: skip
    ref = RemoverRef(hash="h", folder="f", sampling=SamplingConfig())
    return PhaseOutcome(result=result, standing=PhaseStart(remover=ref, version=1), losses=TrainingLosses())


def test_the_newest_of_each_name_in_order(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "w")
    ledger = workspace.ledger()
    for run, each in (
        ("old", outcome("base model", 0.1, 21)),
        ("old", outcome("human 1", 0.2, 22)),
        ("new", outcome("human 1", 0.2, 23)),
        ("new", outcome("automation 1", 0.4, None)),
    ):
        ledger.results.record("phase_start", each.result.name, each.standing, run=run)
        ledger.results.record("phase", each.result.name, each, run=run)
    ledger.results.record("retraining", "version 3", outcome("version 3", 0.5, 24), run="retrain")
    found = ended_phases(VersionSet(workspace=workspace.root, version=1))
    assert [(each.name, each.success_rate, each.psnr) for each in found] == [
        ("base model", 0.1, 21),
        ("human 1", 0.2, 23),
        ("automation 1", 0.4, None),
    ]


def test_a_folder_has_no_phases(tmp_path: Path) -> None:
    assert ended_phases(FolderSource(path=tmp_path)) == []
