"""A cycle whose pool holds composites: drawn, reviewed by their own truth, grown, and reported."""

from collections import Counter
from pathlib import Path

import pytest

from data_specs.composite import Composite
from data_specs.round import CycleResult
from flows.report.tables import pooled_rows
from flows.report.wording import pooled_sentence
from flows.rorem.cycle import CycleConfig, report_path, rorem_cycle
from flows.rorem.initial_data import (
    CycleComposites,
    PreparationSettings,
    compositing_config,
    pooled_composites,
)
from tasks.evaluation.success import assess
from tasks.review.oracle import read_candidates
from tasks.sources.backgrounds import SyntheticBackgrounds
from tasks.sources.pairs import SyntheticPairs
from tasks.sources.synthetic.samples import SyntheticConfig
from tasks.storage.dataset import load_samples, verify_dataset
from tasks.storage.dataset.versions import create_version
from tasks.storage.shards import ShardReader, decode_composite, decode_triplet
from tasks.storage.workspace import Workspace
from tests.flows.rorem.test_cycle import small


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> CycleConfig:
    """People, who never err, and then everything: no discriminator is trained."""
    folder = tmp_path_factory.mktemp("composed cycle") / "workspace"
    changes = {
        "acceptance": "none_after_humans",
        "human_items": 24,
        "automation_items": 10,
        "oracle": small(folder).oracle.model_copy(update={"error_rate": 0}),
        "composites": CycleComposites(pairs=16, backgrounds=6, attempts=24, use="pool"),
    }
    return small(folder, **changes)


@pytest.fixture(scope="module")
def result(prefect_server: None, config: CycleConfig) -> CycleResult:
    return rorem_cycle(config)


@pytest.fixture(scope="module")
def workspace(result: CycleResult, config: CycleConfig) -> Workspace:
    return Workspace.existing(config.workspace)


@pytest.fixture(scope="module")
def composites(workspace: Workspace) -> dict[str, Composite]:
    with ShardReader(workspace, workspace.ledger().shards.all(stage="composites")) as reader:
        made = [decode_composite(reader[place]) for place in range(len(reader))]
    return {each.key: each for each in made}


def test_phases_draw_composites_beside_the_studios_items(
    result: CycleResult, workspace: Workspace, composites: dict[str, Composite]
) -> None:
    ledger = workspace.ledger()
    pool = ledger.draws.pool_items("train")
    drawn = set(pool) - set(ledger.draws.undrawn(pool))
    assert composites.keys() <= set(pool)
    assert len(drawn) == 24 + 10
    assert result.composites is not None
    assert result.composites.made.pool_items == len(composites) > 20
    assert 0 < result.composites.drawn == len(drawn & composites.keys()) < len(drawn)


def test_the_reviewer_answers_by_the_composites_own_truth_which_the_pool_does_not_hold(
    config: CycleConfig, workspace: Workspace, composites: dict[str, Composite]
) -> None:
    with ShardReader(workspace, workspace.ledger().shards.all(stage="pool")) as reader:
        members = {name for place in range(len(reader)) for name in reader[place].members}
    assert not [name for name in members if "truth" in name or "foreground" in name]
    shards = [ref for ref in workspace.ledger().shards.all(stage="candidates") if ref.purpose == "human"]
    shown = [each for ref in shards for each in read_candidates(workspace, ref) if each.item in composites]
    decisions = workspace.ledger().reviews.decisions([each.key for each in shown])
    assert len(decisions) == len(shown) > 0
    for candidate in shown:
        truth = composites[candidate.item].ground_truth
        quality = config.oracle.quality
        fault = assess(candidate.removal, candidate.source, candidate.mask, truth, quality).reason
        assert decisions[candidate.key] == ("no" if fault else "yes")


def test_what_grew_from_composites_is_counted(
    result: CycleResult, workspace: Workspace, composites: dict[str, Composite]
) -> None:
    grown = workspace.ledger().shards.all(stage="grown")
    with ShardReader(workspace, grown) as reader:
        sources = [decode_triplet(reader[place]).source.tobytes() for place in range(len(reader))]
    shown = {each.source.tobytes() for each in composites.values()}
    assert result.composites is not None
    assert result.composites.grown == sum(source in shown for source in sources) > 0


def test_no_composite_shows_a_scene_of_the_tests_or_of_the_initial_pairs(
    workspace: Workspace, composites: dict[str, Composite]
) -> None:
    ledger = workspace.ledger()
    others = {
        row.scene for ref in ledger.shards.all(stage="triplets") for row in ledger.shards.samples_of(ref.name)
    }
    assert others.isdisjoint({scene for each in composites.values() for scene in each.scenes})


def test_the_report_shows_them(result: CycleResult, config: CycleConfig, workspace: Workspace) -> None:
    page = report_path(workspace).read_text()
    assert "<h2>Composites</h2>" in page
    assert "<h3>composites accepted</h3>" in page
    assert result.composites is not None
    assert f"the phases drew {result.composites.drawn}; {result.composites.grown} samples" in page
    assert "No composites joined the dataset&#39;s training set" in page, (
        "this cycle adds them to the pool only"
    )
    assert f">{result.composites.drawn}</td>" in page
    for stage in result.composites.made.stages:
        for reason, count in stage.rejects.items():
            assert f"refused: {reason}".replace("'", "&#39;") in page
            assert f">{count}</td>" in page


def test_again_it_changes_nothing(result: CycleResult, config: CycleConfig, workspace: Workspace) -> None:
    files = {path: path.stat().st_mtime_ns for path in workspace.shards_dir.iterdir()}
    again = rorem_cycle(config)
    assert {path: path.stat().st_mtime_ns for path in workspace.shards_dir.iterdir()} == files
    assert (again.composites, again.phases) == (result.composites, result.phases)
    assert verify_dataset(workspace).clean


def test_another_seed_shows_other_scenes_and_cut_outs_are_larger_than_plates(tmp_path: Path) -> None:
    captures, plates = zip(*(studios(tmp_path, seed) for seed in (0, 1)), strict=True)
    assert captures[0].seed != captures[1].seed
    assert (captures[0].size_px, plates[0].size_px) == (96, 48)
    assert {captures[0].split, plates[0].split} == {"train"}


def studios(folder: Path, seed: int) -> tuple[SyntheticConfig, SyntheticConfig]:
    """Where objects are cut out, and where they are put."""
    config = compositing_config(folder, CycleComposites(), PreparationSettings(size_px=48), seed)
    (pairs,), (backgrounds,) = config.pairs, config.backgrounds
    assert isinstance(pairs, SyntheticPairs)
    assert isinstance(backgrounds, SyntheticBackgrounds)
    return pairs.renderer, backgrounds.renderer


def test_composites_that_are_samples_of_a_version_are_counted(
    result: CycleResult, workspace: Workspace, composites: dict[str, Composite]
) -> None:
    assert result.composites is not None
    assert result.composites.joined == 0
    current = workspace.ledger().versions.current()
    assert current is not None
    shards = workspace.ledger().shards.all(stage="composites")
    version = create_version(workspace, [(ref, None) for ref in shards], None, "composites alone")
    pooled = pooled_composites(workspace, result.composites.made, version.number)
    assert pooled.joined == len(composites)
    assert pooled_composites(workspace, result.composites.made, current.number) == result.composites
    said = pooled_sentence(pooled)
    assert f" {len(composites)} composites joined the dataset's training set." in said
    assert {"stage": "in the cycle", "what": "joined the dataset's training set",
            "count": f"{len(composites)}"} in pooled_rows(pooled)  # fmt: skip


def test_composites_train_from_the_first_training_on(tmp_path: Path, prefect_server: None) -> None:
    """The demo's way: with their truth, in the dataset, and not in the pool."""
    sizes = CycleComposites(pairs=16, backgrounds=6, attempts=24)
    result = rorem_cycle(small(tmp_path / "trained", rounds=0, composites=sizes))
    assert result.composites is not None
    joined, pairs = result.composites.joined, result.phases[1].total
    assert joined == result.composites.made.composites > 20
    samples = load_samples(Workspace.existing(tmp_path / "trained"), result.dataset.version)
    stages = Counter(sample.stage for sample in samples if sample.split == "train")
    assert stages == {"composites": joined, "triplets": pairs - joined}
    assert result.composites.made.pool_items == 0
    assert "pool" not in pooled_sentence(result.composites)
