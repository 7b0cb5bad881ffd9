"""One small cycle on a real Prefect server, from an empty folder to its report; and then again."""

import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from data_specs.assessment import QualityConfig
from data_specs.errors import FlowError
from data_specs.round import CycleResult
from data_specs.shard import Purpose
from data_specs.triplet import Triplet
from flows.report.pages import SLOPPY_GRID
from flows.report.phase_grids import grid_path
from flows.rorem.config import RoundConfig
from flows.rorem.cycle import CycleConfig, report_path, rorem_cycle
from flows.rorem.initial_data import PreparationSettings
from flows.rorem.phases import Step, as_remover, begin, finished
from flows.rorem.round import rorem_round
from models.images.sloppy_masks import SLOPPY_MASKS
from models.rorem.remover import SamplingConfig
from models.training.loop import TrainingConfig
from tasks.evaluation.evaluate import read_triplets, removals_of
from tasks.registry.removers import load_remover
from tasks.review.oracle import OracleConfig, read_candidates
from tasks.rorem.grow import candidates_by_item
from tasks.rorem.score import good_by_truth
from tasks.sources.clip.clip import ClipConfig
from tasks.sources.synthetic.samples import SyntheticConfig
from tasks.sources.synthetic.shards import RenderWork, render
from tasks.storage.dataset import load_samples, verify_dataset
from tasks.storage.shards import ShardReader, decode_triplet
from tasks.storage.workspace import Workspace


def small(folder: Path, **changes) -> CycleConfig:
    facts = {
        "workspace": folder,
        "rounds": 1,
        "human_items": 30,
        "automation_items": 16,
        "calibration_items": 20,
        "discriminator_test_items": 12,
        "shard_items": 15,
        "score_threshold": 0.3,
        "oracle": OracleConfig(quality=QualityConfig(residual_levels=32)),
        "sampling": SamplingConfig(steps=1),
        "preparation": PreparationSettings(
            clip=ClipConfig(size_px=32, frame_step=15, crops_per_frame=2),
            size_px=32,
            initial_pairs=16,
            validation_pairs=10,
            test_pairs=10,
        ),
        "initialisation": TrainingConfig(steps=6, batch_size=8, learning_rate=6e-4),
        "retraining": TrainingConfig(steps=3, batch_size=8, learning_rate=4e-4),
        "discriminator_training": TrainingConfig(steps=3, batch_size=8),
    }
    return CycleConfig.model_validate({**facts, **changes})


def counts(workspace: Workspace) -> dict[str, int]:
    """Rows of every table of the ledger."""
    engine = sa.create_engine(workspace.ledger_url)
    with engine.connect() as connection:
        names = sa.inspect(connection).get_table_names()
        return {
            name: connection.scalar(sa.select(sa.func.count()).select_from(sa.table(name))) or 0
            for name in names
        }


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> CycleConfig:
    return small(tmp_path_factory.mktemp("cycle") / "workspace")


@pytest.fixture(scope="module")
def result(prefect_server: None, config: CycleConfig) -> CycleResult:
    return rorem_cycle(config)


@pytest.fixture(scope="module")
def workspace(result: CycleResult, config: CycleConfig) -> Workspace:
    return Workspace.existing(config.workspace)


def grown(workspace: Workspace, purpose: Purpose) -> list[str]:
    """Candidates that the grown shard of this purpose was made from."""
    (ref,) = (r for r in workspace.ledger().shards.all(stage="grown") if r.purpose == purpose)
    with ShardReader(workspace, [ref]) as reader:
        return [decode_triplet(reader[i]).origin.removeprefix("candidate:") for i in range(len(reader))]


def test_the_table_is_rorems(result: CycleResult, config: CycleConfig) -> None:
    """Table 1: base, initialisation, human, automation; what is kept is added to what was there."""
    names = [phase.name for phase in result.phases]
    assert names == ["base model", "initialisation", "human 1", "automation 1"]
    assert [phase.round for phase in result.phases] == [None, None, 1, 1]
    base, initial, human, automation = result.phases
    assert (base.tested, base.kept, base.total) == (0, 0, 0)
    assert initial.tested == initial.kept == initial.total > 16, "the clip's pairs and 16 of the studio"
    assert (human.tested, automation.tested) == (config.human_items, config.automation_items)
    for before, phase in ((initial, human), (human, automation)):
        assert 0 < phase.kept <= phase.tested
        assert phase.total == before.total + phase.kept
    for phase in result.phases:
        assert 0 <= phase.success_low <= phase.success_rate <= phase.success_high <= 1
        assert phase.success_rate * 10 == pytest.approx(round(phase.success_rate * 10)), "of 10 test pairs"
        assert phase.reason
        assert phase.psnr is not None
        assert phase.measured_on.startswith("test split, ")
        assert phase.seconds > 0


def level_where_it_must_change(removal: np.ndarray, triplet: Triplet) -> float:
    truth = triplet.ground_truth.astype(float)
    difference = np.abs(triplet.source - truth).max(axis=2)
    changed = triplet.mask | (difference >= QualityConfig().effect_levels)
    return float(10 * np.log10(255**2 / ((removal - truth)[changed] ** 2).mean()))


def test_the_last_remover_and_objectclear_get_the_same_sloppy_masks(
    result: CycleResult, config: CycleConfig, workspace: Workspace
) -> None:
    """Under exact masks the remover's figures are those of its own evaluation, on the same ten pairs."""
    masks = ["exact", "shifted 2 px", "eroded 2 px", "right half"]
    pairs = [(mask, method) for mask in masks for method in ("final remover", "ObjectClear")]
    assert [(one.mask, one.method) for one in result.masks] == pairs
    assert {one.triplets for one in result.masks} == {10}
    exact, last = result.masks[0], result.phases[-1]
    assert (exact.success_rate, exact.psnr) == pytest.approx((last.success_rate, last.psnr))
    assert exact.psnr_effect == pytest.approx(last.psnr_effect)
    champion = workspace.ledger().models.champion("remover")
    assert champion is not None
    remover = load_remover(workspace, as_remover(champion, config.sampling))
    refs = workspace.ledger().shards.all(stage="triplets")
    triplets = read_triplets(workspace, refs, "test", config.evaluation_source)
    halved = [replace(t, mask=SLOPPY_MASKS["right half"](t.mask)) for t in triplets]
    levels = [
        level_where_it_must_change(r, t) for r, t in zip(removals_of(remover, halved), triplets, strict=True)
    ]
    assert result.masks[6].psnr_effect == pytest.approx(sum(levels) / 10), "M_fg is the whole object's"
    assert (workspace.root / grid_path(SLOPPY_GRID)).read_bytes().startswith(b"\x89PNG")


def test_the_discriminator_was_measured_on_fresh_items(
    result: CycleResult, config: CycleConfig, workspace: Workspace
) -> None:
    (discriminator,) = result.discriminators
    assert (discriminator.round, discriminator.tested) == (1, config.discriminator_test_items)
    # Of an item that calibrates, one candidate is asked about.
    asked = config.human_items * len(config.variants) + config.calibration_items
    assert discriminator.reviewed == asked == len(workspace.ledger().reviews.all())
    fresh = [r for r in workspace.ledger().shards.all(stage="candidates") if r.purpose == "fresh"]
    shown = [c for ref in fresh for c in read_candidates(workspace, ref)]
    assert {c.split for c in shown} == {"validation"}
    assert len({c.item for c in shown}) == config.discriminator_test_items
    assert len(shown) == len(config.variants) * config.discriminator_test_items
    reviewed = {r.candidate for r in workspace.ledger().reviews.all()}
    assert reviewed.isdisjoint({c.key for c in shown})


def test_people_accept_by_yes_and_the_discriminator_by_score(
    result: CycleResult, config: CycleConfig, workspace: Workspace
) -> None:
    ledger = workspace.ledger()
    yes = {r.candidate for r in ledger.reviews.all() if r.decision == "yes"}
    assert set(grown(workspace, "human")) <= yes
    assert len(grown(workspace, "human")) == result.phases[2].kept
    refs = [r for r in ledger.shards.all(stage="candidates") if r.purpose == "automation"]
    shown = [c for ref in refs for c in read_candidates(workspace, ref)]
    (discriminator,) = {m for m in all_models(workspace) if shown[0].key in ledger.scores.of(m)}
    scores = ledger.scores.of(discriminator)
    best: dict[str, float] = {}
    for candidate in shown:
        best[candidate.item] = max(best.get(candidate.item, 0), scores[candidate.key])
    expected = sorted(score for score in best.values() if score > config.score_threshold)
    assert sorted(scores[key] for key in grown(workspace, "automation")) == pytest.approx(expected)


def all_models(workspace: Workspace) -> list[str]:
    engine = sa.create_engine(workspace.ledger_url)
    with engine.connect() as connection:
        query = sa.select(sa.column("hash")).select_from(sa.table("models"))
        return list(connection.scalars(query))


def test_nothing_of_validation_or_test_is_trained_on(workspace: Workspace) -> None:
    """Neither by scene nor by item, whatever grew into the version."""
    ledger = workspace.ledger()
    current = ledger.versions.current()
    assert current is not None
    samples = load_samples(workspace, current.number)
    trained = {s.scene for s in samples if s.split == "train"}
    rows = [
        row
        for stage in ("triplets", "pool")
        for r in ledger.shards.all(stage=stage)
        for row in ledger.shards.samples_of(r.name)
    ]
    apart = {row.scene for row in rows if row.split != "train"}
    assert trained
    assert apart
    assert trained.isdisjoint(apart)
    assert {s.stage for s in samples} == {"triplets", "grown"}


def test_the_dataset_and_the_report_are_there(
    result: CycleResult, config: CycleConfig, workspace: Workspace
) -> None:
    assert verify_dataset(workspace).clean
    current = workspace.ledger().versions.current()
    assert current is not None
    assert (result.dataset.version, result.dataset.samples) == (current.number, current.samples)
    assert current.by_split["train"] == result.phases[-1].total
    page = report_path(workspace).read_text()
    for heading in ("automation 1", "initialisation", "Telea"):
        assert heading.lower() in page.lower()
    assert "http://" not in page.replace("http://www.w3.org", ""), "one file, nothing fetched"
    assert [clip.method for clip in result.clip] == ["telea", "initialisation", "final"]


def test_again_it_changes_nothing_and_is_quick(result: CycleResult, config: CycleConfig) -> None:
    workspace = Workspace.existing(config.workspace)
    before, files = counts(workspace), sorted(p.name for p in workspace.shards_dir.iterdir())
    began = time.monotonic()
    again = rorem_cycle(config)
    assert time.monotonic() - began < max(8.0, result.seconds)
    assert counts(workspace) == before
    assert sorted(p.name for p in workspace.shards_dir.iterdir()) == files
    assert again.phases == result.phases
    assert again.discriminators == result.discriminators
    assert again.clip == result.clip


@pytest.fixture
def copied(workspace: Workspace, tmp_path: Path) -> Workspace:
    """Where the cycle ended, to go on from apart."""
    shutil.copytree(workspace.root, tmp_path / "copy")
    return Workspace.open(tmp_path / "copy")


def round_of(config: CycleConfig, workspace: Workspace, **changes) -> RoundConfig:
    facts = config.model_dump(include=set(RoundConfig.model_fields))
    return RoundConfig.model_validate({**facts, "workspace": workspace.root, **changes})


def test_without_growth_the_version_stays(config: CycleConfig, copied: Workspace) -> None:
    before, version = counts(copied), copied.ledger().versions.current()
    assert version is not None
    outcome = rorem_round(round_of(config, copied, acceptance="none"))
    assert outcome.discriminator is None
    for phase in (outcome.human, outcome.automation):
        assert (phase.result.tested, phase.result.kept) == (0, 0)
        assert phase.standing.version == version.number
        assert len(phase.losses.means) == config.retraining.steps, "trained as long as the others"
    after = counts(copied)
    assert [after[name] for name in ("reviews", "scores", "shards", "pool_draws")] == [
        before[name] for name in ("reviews", "scores", "shards", "pool_draws")
    ]
    assert copied.ledger().versions.current() == version


def test_growth_without_judgement_takes_one_of_each(config: CycleConfig, copied: Workspace) -> None:
    studio = SyntheticConfig(size_px=32, seed=77)
    render(copied, RenderWork(round=0, index=50, stage="pool", renderer=studio, first=0, count=7))
    before = counts(copied)
    again = round_of(config, copied, acceptance="all", human_items=4, automation_items=3)
    outcome = rorem_round(again)
    assert (outcome.human.result.kept, outcome.automation.result.kept) == (4, 3)
    assert outcome.discriminator is None
    after = counts(copied)
    assert (after["reviews"], after["scores"]) == (before["reviews"], before["scores"]), "nobody was asked"
    drawn = [
        copied.ledger().draws.drawn(f"{again.identity.key} {phase} 1") for phase in ("human", "automation")
    ]
    assert [len(set(keys)) for keys in drawn] == [4, 3]
    assert set(drawn[0]).isdisjoint(drawn[1])


@pytest.mark.parametrize("acceptance", ["humans_only", "oracle"])
def test_the_controls_of_the_automated_phase_keep_nothing_or_all_that_is_good(
    config: CycleConfig, copied: Workspace, acceptance: str
) -> None:
    studio = SyntheticConfig(size_px=32, seed=78)
    render(copied, RenderWork(round=0, index=51, stage="pool", renderer=studio, first=0, count=9))
    again = round_of(config, copied, acceptance=acceptance, human_items=4, automation_items=5)
    outcome = rorem_round(again)
    assert outcome.discriminator is None
    result = outcome.automation.result
    if acceptance == "humans_only":
        assert (result.tested, result.kept) == (0, 0)
        return
    assert result.tested == 5
    draws = copied.ledger().draws.drawn(f"{again.identity.key} automation 1")
    refs = [r for r in copied.ledger().shards.all(stage="candidates") if r.purpose == "automation"]
    good = good_by_truth(copied, refs, again.oracle)
    items = {item: keys for item, keys in candidates_by_item(copied, refs).items() if item in draws}
    assert result.kept == sum(any(good[key] for key in keys) for keys in items.values())


def test_a_pure_set_that_nobody_can_certify_is_not_kept(config: CycleConfig, copied: Workspace) -> None:
    """20 answers certify no set of 99 %, and the phase says so."""
    studio = SyntheticConfig(size_px=32, seed=79)
    render(copied, RenderWork(round=0, index=52, stage="pool", renderer=studio, first=0, count=60))
    again = round_of(config, copied, keep="purity", purity={"fraction": 0.99}, human_items=25)
    outcome = rorem_round(again)
    assert outcome.discriminator is not None
    assert outcome.discriminator.trained.pure_threshold is None
    assert (outcome.automation.result.tested, outcome.automation.result.kept) == (0, 0)
    assert "certify no set of the wanted purity" in outcome.automation.result.reason
    assert copied.ledger().draws.drawn(f"{again.identity.key} automation 1") == [], "the items stay"


def test_what_was_published_is_not_published_again_and_what_was_not_is(
    config: CycleConfig, copied: Workspace
) -> None:
    """A kill between a phase's record and its grids: the next start draws them."""
    again = round_of(config, copied)
    grid = copied.root / grid_path("human 1: test images")
    drawn = grid.read_bytes()
    grid.unlink()
    rorem_round(again)
    assert not grid.exists()
    with sa.create_engine(copied.ledger_url).begin() as connection:
        for trigger in connection.scalars(
            sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        ).all():
            connection.execute(sa.text(f"DROP TRIGGER {trigger}"))
        gone = connection.execute(
            sa.text("DELETE FROM results WHERE kind = 'published' AND name = 'human 1'")
        )
        assert gone.rowcount == 1
    rorem_round(again)
    assert grid.read_bytes() == drawn


def test_a_pool_used_up_is_a_sentence(config: CycleConfig, copied: Workspace) -> None:
    with pytest.raises(FlowError, match="the pool has 0 unused items, and .* needs 30; ingest more images"):
        rorem_round(round_of(config, copied, round=2))


def test_no_remover_is_a_sentence(prefect_server: None, config: CycleConfig, tmp_path: Path) -> None:
    empty = Workspace.open(tmp_path / "empty")
    with pytest.raises(FlowError, match=r"^this workspace has no remover yet; run `cleanplate cycle` first$"):
        rorem_round(round_of(config, empty))


def test_a_phase_begun_keeps_its_start(config: CycleConfig, copied: Workspace) -> None:
    ledger = copied.ledger()
    first = begin(copied, Step("a run", "human 1"), config.sampling)
    base = ledger.models.promotions("remover")[0].hash
    assert first.remover.hash != base, "a later remover is in charge"
    ledger.models.promote("remover", base, "somebody went back")
    assert begin(copied, Step("a run", "human 1"), config.sampling) == first
    assert begin(copied, Step("a run", "human 2"), config.sampling).remover.hash == base
    assert finished(copied, Step("a run", "human 1")) is None
