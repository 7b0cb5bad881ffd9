"""A workspace's finished steps: the newest of each name, with what was measured on its own images."""

from pathlib import Path

from data_specs.round import PhaseResult
from flows.rorem.phases import PhaseOutcome, PhaseStart, step_measures
from models.rorem.remover import SamplingConfig
from tasks.evaluation.test_set import VersionSet
from tasks.registry.removers import RemoverRef
from tasks.registry.store import keep_model, record
from tasks.sources.ingest import FolderSource
from tasks.storage.workspace import Workspace


def outcome(name: str, remover: str, rate: float) -> PhaseOutcome:
    result = PhaseResult(
        name=name, kind="human", tested=4, kept=2, total=9, success_rate=rate, success_low=0, success_high=1,
        psnr_effect=20, psnr_background=30, promoted=True, reason="", seconds=1,
    )  # fmt: skip
    ref = RemoverRef(hash=remover, folder="f", sampling=SamplingConfig())
    return PhaseOutcome(result=result, standing=PhaseStart(remover=ref, version=1), losses=[])


def test_the_newest_of_each_name_in_order_with_the_psnr_of_its_own_images(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "w")
    ledger = workspace.ledger()
    recorded = [
        ("old", outcome("base model", "a", 0.1)),
        ("old", outcome("human 1", "b", 0.2)),
        ("new", outcome("human 1", "c", 0.3)),
        ("new", outcome("automation 1", "d", 0.4)),
    ]
    for run, each in recorded:
        ledger.record_phase(run, f"{each.result.name}: start", each.standing.model_dump(mode="json"))
        ledger.record_phase(run, each.result.name, each.model_dump(mode="json"))
    ledger.record_phase("trainings", "training human 1", {"result": "no step"})
    for hash in "abcd":
        folder = keep_model(workspace, hash, lambda aside: (aside / "model.safetensors").touch())
        facts = {"parent": None, "dataset_version": None, "metrics": {}}
        record(workspace, kind="remover", model_hash=hash, folder=folder, **facts)
    for hash, where, rate, psnr in (
        ("a", "test split, studio:", 0.1, 21.0),
        ("a", "validation split, studio:", 0.1, 90.0),
        ("c", "test split, studio:", 0.35, 91.0),  # another cycle's images
        ("c", "test split, studio:", 0.3, 23.0),
    ):
        ledger.record_measurement(hash, where, None, {"success_rate": rate, "psnr": psnr})
    ledger.record_measurement("d", "test split, studio:", None, {"success_rate": 0.4})
    found = step_measures(VersionSet(workspace=workspace.root, version=1))
    rates = [(each.name, each.success_rate) for each in found.results]
    assert rates == [("base model", 0.1), ("human 1", 0.3), ("automation 1", 0.4)]
    assert found.psnr == {"base model": 21.0, "human 1": 23.0}
    assert found.measured_on == "test split, studio:"


def test_a_folder_has_no_steps(tmp_path: Path) -> None:
    assert step_measures(FolderSource(path=tmp_path)) == ([], {}, "")
