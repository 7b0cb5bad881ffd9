"""A cycle on what was ingested, from a base that the user names, to its final stage and its distillation."""

import shutil
from pathlib import Path

import pytest

from data_specs.errors import FlowError, ModelError
from data_specs.round import CycleResult
from flows.ingest import ingest
from flows.ingest_config import IngestConfig, SyntheticSource
from flows.rorem.cycle import CycleConfig, rorem_cycle
from models.profiles import PROFILES
from models.training.loop import TrainingConfig
from tasks.registry.store import BASE_FOLDER, network_at
from tasks.sources.readers import HighResolutionSource
from tasks.sources.synthetic.samples import SyntheticConfig
from tasks.storage.dataset import load_samples, verify_dataset
from tasks.storage.workspace import Workspace
from tests.tasks.sources.test_pasted_pairs import write_object, write_photograph

SIZE = 32


def ingested(folder: Path) -> None:
    """Twelve pairs of each split, as a user brings them in."""
    for seed, split in enumerate(("train", "validation", "test")):
        renderer = SyntheticConfig(size_px=SIZE, seed=seed, split=split)
        ingest(IngestConfig(workspace=folder, source=SyntheticSource(renderer=renderer, count=12)))


def photographs(folder: Path) -> HighResolutionSource:
    for number in range(4):
        write_photograph(folder, f"p{number}", 140, 130)
    for number in range(12):
        write_object(folder, f"o{number}")
    return HighResolutionSource(path=folder, sizes_px=(64,))


def settings(folder: Path, **changes) -> CycleConfig:
    short = TrainingConfig(steps=2, batch_size=4)
    facts = {
        "workspace": folder / "workspace",
        "data": "workspace",
        "base": str(folder / "base"),
        "rounds": 0,
        "initialisation": short,
        "retraining": short,
        "distillation": short,
        "sampling": {"steps": 1},
        "distil": True,
    }
    return CycleConfig.model_validate(facts | changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("own")
    shutil.copytree(BASE_FOLDER, place / "base")
    return place


@pytest.fixture(scope="module")
def config(folder: Path, prefect_server: None) -> CycleConfig:
    ingested(folder / "workspace")
    return settings(folder, high_resolution=photographs(folder / "div2k"))


@pytest.fixture(scope="module")
def result(config: CycleConfig) -> CycleResult:
    return rorem_cycle(config)


def test_the_phases_are_rorems(result: CycleResult) -> None:
    kinds = [phase.kind for phase in result.phases]
    assert kinds == ["base", "initialisation", "final", "distillation"]
    assert result.phases[1].total == 12, "nothing was rendered beside what was ingested"
    assert result.phases[2].kept == result.phases[2].total - 12 > 0


def test_the_base_is_the_users(result: CycleResult, config: CycleConfig) -> None:
    ledger = Workspace.existing(config.workspace).ledger()
    first = ledger.models.promotions("remover")[0].hash
    folder = config.workspace / ledger.models.of_hash(first).path
    assert network_at(folder).fingerprint() == network_at(Path(config.base or "")).fingerprint()


def test_the_final_stage_trains_on_the_pairs_of_high_resolution(
    result: CycleResult, config: CycleConfig
) -> None:
    workspace = Workspace.existing(config.workspace)
    samples = load_samples(workspace, result.dataset.version)
    assert len({sample.shard for sample in samples}) > 3
    assert verify_dataset(workspace).faults == []


def test_the_distilled_remover_is_kept_and_not_promoted(result: CycleResult, config: CycleConfig) -> None:
    ledger = Workspace.existing(config.workspace).ledger()
    distilled = [model for model in ledger.models.all() if model.distilled]
    champion = ledger.models.champion("remover")
    assert len(distilled) == 1
    assert champion is not None
    assert champion.hash != distilled[0].hash
    assert "4 steps" in result.phases[-1].reason
    steps = distilled[0].settings["sampling"]["steps"]
    assert steps == PROFILES["tiny"].distilled_sampling.steps


def test_run_again_it_does_nothing(result: CycleResult, config: CycleConfig) -> None:
    before = sorted(path.name for path in (config.workspace / "models").iterdir())
    again = rorem_cycle(config)
    assert again.phases == result.phases
    assert sorted(path.name for path in (config.workspace / "models").iterdir()) == before


def test_what_is_missing_is_said_before_anything_is_trained(
    tmp_path: Path, folder: Path, prefect_server: None
) -> None:
    shutil.copytree(BASE_FOLDER, tmp_path / "base")
    with pytest.raises(FlowError, match="has no training pairs; run `cleanplate ingest`"):
        rorem_cycle(settings(tmp_path))
    renderer = SyntheticConfig(size_px=SIZE)
    ingest(IngestConfig(workspace=tmp_path / "workspace", source=SyntheticSource(renderer=renderer, count=2)))
    with pytest.raises(FlowError, match="has no validation pairs"):
        rorem_cycle(settings(tmp_path))
    ingested(tmp_path / "workspace")
    with pytest.raises(FlowError, match="the pool has 0 training items, and the rounds need 1900"):
        rorem_cycle(settings(tmp_path, rounds=1))
    with pytest.raises(ModelError, match="nowhere"):
        rorem_cycle(settings(tmp_path, base=str(tmp_path / "nowhere")))
