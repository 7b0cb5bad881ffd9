"""A round with people alone: nobody knows the pool's truth; the discriminator stands on answers."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from data_specs.errors import FlowError
from data_specs.review_batch import Answer, QueuePolicy
from flows.rorem.config import RoundConfig
from flows.rorem.phases import Phase
from flows.rorem.round import RoundOutcome, rorem_round
from models.rorem.discriminator import DiscriminatorConfig
from models.rorem.remover import SamplingConfig
from models.training.loop import TrainingConfig
from tasks.review.oracle import read_candidates
from tasks.review.suspended_runs import settle
from tasks.rorem.questions import one_of_items
from tasks.sources.synthetic.samples import SyntheticConfig
from tasks.sources.synthetic.shards import RenderWork, render
from tasks.storage.shards import ShardReader, decode_triplet
from tasks.storage.workspace import Workspace

pytestmark = pytest.mark.usefixtures("prefect_server")
ITEMS, CALIBRATION, FRESH = 12, 20, 6


@pytest.fixture
def config(studio: SimpleNamespace) -> RoundConfig:
    """Validation pairs, a pool of 60 items more, and no truth of any pool item."""
    return config_of(studio, "")


@pytest.fixture(params=["train", "validation"])
def partly_known(studio: SimpleNamespace, request: pytest.FixtureRequest) -> tuple[RoundConfig, str]:
    """As with composites in the pool of real images: the truth of one split's items is known."""
    return config_of(studio, request.param), request.param


def config_of(studio: SimpleNamespace, known: str) -> RoundConfig:
    """A round's settings; of the pool's truth only that of the split ``known`` stays."""
    workspace: Workspace = studio.workspace
    pairs = SyntheticConfig(size_px=32, seed=8, split="validation")
    render(workspace, RenderWork(round=0, index=2, stage="triplets", renderer=pairs, first=0, count=6))
    more = SyntheticConfig(size_px=32, seed=7, split="train")
    render(workspace, RenderWork(round=0, index=2, stage="pool", renderer=more, first=0, count=60))
    engine = sa.create_engine(workspace.ledger_url)
    with engine.begin() as connection:
        truth = "SELECT name FROM shards WHERE stage = 'truth'"
        kept = f"SELECT shard FROM samples WHERE split = '{known}'"
        gone = connection.exec_driver_sql(f"{truth} AND name NOT IN ({kept})").scalars().all()
        for name in gone:
            connection.exec_driver_sql(f"DELETE FROM samples WHERE shard = '{name}'")
            connection.exec_driver_sql(f"DELETE FROM shards WHERE name = '{name}'")
    return RoundConfig(
        workspace=workspace.root,
        human_review=QueuePolicy(overlap_fraction=0),
        human_items=ITEMS,
        automation_items=5,
        calibration_items=CALIBRATION,
        discriminator_test_items=FRESH,
        score_threshold=0.2,
        variants=("tight", "dilated", "left", "right"),
        sampling=SamplingConfig(steps=1),
        retraining=TrainingConfig(steps=1, batch_size=4),
        discriminator=DiscriminatorConfig(head="pooled", head_width=16),
        discriminator_training=TrainingConfig(steps=2, batch_size=6),
    )


def answer_all(workspace: Workspace, batch: str) -> None:
    """Ada says YES to candidates whose key ends in an even digit."""
    ledger, now = workspace.ledger(), datetime.now(UTC)
    if not ledger.people.all():
        ledger.people.add("ada", "hash", now)
    while leases := ledger.leases.lease(batch, "ada", 20, now):
        for lease in leases:
            ledger.leases.answer(lease.lease, "ada", Answer(decision=said(lease.candidate), seconds=1), now)


def said(candidate: str):
    return "no" if int(candidate[-1], 16) % 2 else "yes"


def purposes_in_order(workspace: Workspace) -> list[str]:
    """What pool items were drawn for, first to last. Fresh items take whole scenes, so they come last."""
    engine = sa.create_engine(workspace.ledger_url)
    with engine.connect() as connection:
        drawn = connection.scalars(sa.text("SELECT purpose FROM pool_draws ORDER BY sequence")).all()
    engine.dispose()
    return list(dict.fromkeys(drawn))


def waits_for(config: RoundConfig, kind) -> str:
    """The batch that the round stops at."""
    batch = Phase(config.identity.key, f"{kind} 1", kind, 1).batch
    with pytest.raises(FlowError, match=f"{batch} waits for"):
        rorem_round(config)
    return batch


def test_the_discriminator_stands_on_peoples_answers(config: RoundConfig) -> None:
    workspace = Workspace.existing(config.workspace)
    ledger = workspace.ledger()
    answer_all(workspace, waits_for(config, "human"))
    batch = waits_for(config, "calibration")
    # Of a fresh item its best candidate and any one, which may be the same.
    assert CALIBRATION + FRESH <= ledger.batches.counts(batch).items <= CALIBRATION + 2 * FRESH
    assert purposes_in_order(workspace) == ["human", "calibration", "fresh"]
    answer_all(workspace, batch)
    outcome: RoundOutcome = rorem_round(config)

    (of_humans,) = [r for r in ledger.shards.all(stage="candidates") if r.purpose == "human"]
    human = read_candidates(workspace, of_humans)
    accepted = {min(c.key for c in human if c.item == item and said(c.key) == "yes")
                for item in {c.item for c in human if said(c.key) == "yes"}}  # fmt: skip
    with ShardReader(
        workspace, [r for r in ledger.shards.all(stage="grown") if r.purpose == "human"]
    ) as reader:
        grown = {decode_triplet(reader[i]).origin.removeprefix("candidate:") for i in range(len(reader))}
    assert grown == accepted, "exactly the YES items"
    assert (outcome.human.result.tested, outcome.human.result.kept) == (ITEMS, len(accepted))

    discriminator = outcome.discriminator
    assert discriminator is not None
    assert discriminator.trained.reviewed == 4 * ITEMS + CALIBRATION, "fresh answers train nothing"
    fresh = [
        c
        for r in ledger.shards.all(stage="candidates")
        if r.purpose == "fresh"
        for c in read_candidates(workspace, r)
    ]
    assert len(fresh) == 4 * FRESH
    items = {item: [c.key for c in fresh if c.item == item] for item in dict.fromkeys(c.item for c in fresh)}
    drawn = one_of_items(items, config.seed)
    assert discriminator.measured is not None
    result = discriminator.measured.result
    assert result.tested == len(drawn) == FRESH
    assert result.base_rate == pytest.approx(sum(said(key) == "yes" for key in drawn) / FRESH)
    assert result.by_score is not None
    assert result.by_score.items == FRESH, "every item's best candidate was asked about"
    assert outcome.automation.result.tested == 5
    assert rorem_round(config) == outcome, "run again it changes nothing"


def test_an_abandoned_calibration_leaves_the_round_without_a_discriminator(config: RoundConfig) -> None:
    workspace = Workspace.existing(config.workspace)
    answer_all(workspace, waits_for(config, "human"))
    settle(workspace, waits_for(config, "calibration"), "abandon")
    outcome: RoundOutcome = rorem_round(config)
    assert outcome.discriminator is None
    assert (outcome.automation.result.tested, outcome.automation.result.kept) == (0, 0)
    assert "calibrates the discriminator was abandoned" in outcome.automation.result.reason
    assert outcome.automation.result.total == outcome.human.result.total


def test_an_abandoned_human_phase_grows_nothing_and_says_so(config: RoundConfig) -> None:
    workspace = Workspace.existing(config.workspace)
    unjudged = config.model_copy(update={"acceptance": "none_after_humans"})
    settle(workspace, waits_for(unjudged, "human"), "abandon")
    outcome: RoundOutcome = rorem_round(unjudged)
    assert (outcome.human.result.tested, outcome.human.result.kept) == (ITEMS, 0)
    assert "its review was abandoned, so nothing grew" in outcome.human.result.reason


def test_nobody_is_asked_about_fresh_candidates_whose_truth_is_known(
    partly_known: tuple[RoundConfig, str],
) -> None:
    config, known = partly_known
    workspace = Workspace.existing(config.workspace)
    ledger = workspace.ledger()
    answer_all(workspace, waits_for(config, "human"))
    batch = waits_for(config, "calibration")
    # Validation items with known truth measure the discriminator; else training items set apart do.
    assert ledger.batches.counts(batch).items == CALIBRATION, "their truth is known, so nobody is asked"
    answer_all(workspace, batch)
    outcome: RoundOutcome = rorem_round(config)
    assert outcome.discriminator is not None
    assert outcome.discriminator.measured is not None
    assert outcome.discriminator.measured.result.tested == FRESH
    fresh = [row.key for ref in ledger.shards.all(stage="candidates") if ref.purpose == "fresh"
             for row in ledger.shards.samples_of(ref.name)]  # fmt: skip
    assert len(fresh) == 4 * FRESH
    assert ledger.reviews.decisions(fresh) == {}
    splits = {row.split for ref in ledger.shards.all(stage="candidates") if ref.purpose == "fresh"
              for row in ledger.shards.samples_of(ref.name)}  # fmt: skip
    assert splits == {known}


@pytest.mark.parametrize("partly_known", ["validation"], indirect=True)
def test_without_people_what_nobody_knows_is_said(partly_known: tuple[RoundConfig, str]) -> None:
    config, _ = partly_known
    alone = config.model_copy(update={"human_review": None})
    with pytest.raises(
        FlowError, match=r"the oracle cannot answer, because \d+ pool items.* set `human_review`"
    ):
        rorem_round(alone)
    assert Workspace.existing(config.workspace).ledger().reviews.all() == []
