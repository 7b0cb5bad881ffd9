"""A human phase that chooses: what is asked, what the others are for, and a second start asks the same."""

from types import SimpleNamespace

import pytest

from data_specs.losses import TrainingLosses
from data_specs.shard import ShardRef
from flows.rorem.config import RoundConfig
from flows.rorem.cycle_config import CycleConfig
from flows.rorem.phases import RoundRun
from flows.rorem.review_choice import automated_items, choice_of, draw_items, unasked_items
from flows.rorem.round import human_phase
from models.rorem.discriminator import DiscriminatorConfig, DiscriminatorNetwork, LoraDiscriminator
from models.rorem.remover import SamplingConfig
from models.training.loop import TrainingConfig
from tasks.registry.store import network_at
from tasks.rorem.grow import candidates_by_item
from tasks.rorem.propose import ProposeWork, propose
from tasks.rorem.train_discriminator import TrainedDiscriminator, keep_discriminator
from tasks.sources.synthetic.samples import SyntheticConfig
from tasks.sources.synthetic.shards import RenderWork, render

pytestmark = pytest.mark.usefixtures("prefect_server")
ASKED, SCORED = 4, 7
"""Items of the human and of the automated phase."""


@pytest.fixture
def run(studio: SimpleNamespace) -> RoundRun:
    """Round 2, with a discriminator of before."""
    keep_untrained(studio, seed=0)
    config = RoundConfig(
        workspace=studio.workspace.root,
        round=2,
        review_choice="active",
        human_items=ASKED,
        automation_items=SCORED,
        variants=("tight", "left"),
        sampling=SamplingConfig(steps=1),
        retraining=TrainingConfig(steps=1, batch_size=4),
    )
    return RoundRun.open(config)


def keep_untrained(studio: SimpleNamespace, seed: int) -> None:
    """A calibrated discriminator in the ledger: the newest, and other than one of another seed."""
    network = network_at(studio.workspace.fetched(studio.remover.folder))
    config = DiscriminatorConfig(head="pooled", head_width=16)
    module = LoraDiscriminator(DiscriminatorNetwork(network, config, seed), config)
    name = f"untrained {seed}"
    ref = keep_discriminator(studio.workspace, name, module, studio.remover, 0, SamplingConfig())
    trained = TrainedDiscriminator(discriminator=ref, reviewed=0, losses=TrainingLosses())
    studio.workspace.ledger().results.record("discriminator_training", name, trained)


def proposed(studio: SimpleNamespace, items: list[str], index: int = 0) -> ShardRef:
    work = ProposeWork(
        round=2, index=index, phase="human 2", purpose="human", pool=(studio.pool,), items=tuple(items),
        variants=("tight", "left"), remover=studio.remover,
    )  # fmt: skip
    return propose(studio.workspace, work)


def test_half_of_twice_as_many_is_asked_and_the_automated_phase_gets_the_others(
    studio: SimpleNamespace, run: RoundRun
) -> None:
    items = draw_items(run)
    assert len(items) == 2 * ASKED
    refs = [proposed(studio, items)]
    ask = choice_of(run, refs)
    assert ask is not None
    keys = ask(refs)
    candidates = candidates_by_item(run.workspace, refs)
    whole = [item for item, of in candidates.items() if keys.issuperset(of)]
    assert len(whole) == ASKED
    assert len(keys) == 2 * ASKED, "two variants of each, and no other candidate"
    others = unasked_items(run)
    assert sorted([*whole, *others]) == sorted(items)

    keep_untrained(studio, seed=1)
    again = choice_of(run, refs)
    assert again is not None
    assert again(refs) == keys, "a newer discriminator changes nothing that was chosen"
    assert draw_items(run) == items

    scored = automated_items(run)
    assert scored[: len(others)] == others
    assert len(set(scored)) == SCORED
    assert not set(scored).intersection(whole)
    assert automated_items(run) == scored

    unused = [key for key in run.workspace.ledger().draws.undrawn_items() if key not in scored][:2]
    more = [proposed(studio, unused, index=1)]
    assert len(ask(more)) == 4, "an extended review asks about all of the further items"


@pytest.mark.parametrize(
    "changes", [{"round": 1}, {"review_choice": "random"}, {"acceptance": "oracle"}], ids=str
)
def test_otherwise_all_drawn_items_are_asked(run: RoundRun, changes: dict[str, object]) -> None:
    other = RoundRun.open(run.config.model_copy(update=changes))
    assert len(draw_items(other)) == ASKED
    assert choice_of(other, []) is None
    assert unasked_items(other) == []
    assert len(automated_items(other)) == SCORED


def test_the_phase_grows_by_what_was_asked(studio: SimpleNamespace, run: RoundRun) -> None:
    pairs = SyntheticConfig(size_px=32, seed=8, split="validation")
    render(run.workspace, RenderWork(round=0, index=2, stage="triplets", renderer=pairs, first=0, count=6))
    outcome = human_phase(run)
    assert outcome.result.tested == ASKED
    ledger = run.workspace.ledger()
    reviewed = {review.candidate for review in ledger.reviews.all()}
    refs = [ref for ref in ledger.shards.all(stage="candidates") if ref.purpose == "human"]
    asked = {key for item, keys in candidates_by_item(run.workspace, refs).items()
             if item not in unasked_items(run) for key in keys}  # fmt: skip
    assert reviewed == asked
    assert len(asked) == 2 * ASKED
    keep_untrained(studio, seed=1)
    assert human_phase(run) == outcome


def test_a_cycles_pool_has_the_items_that_its_phases_draw() -> None:
    few = CycleConfig(rounds=2, human_items=50, automation_items=20, calibration_items=20)
    choosing = few.model_copy(update={"review_choice": "active"})
    assert few.pool_sizes.train == 2 * (50 + 20 + 20)
    # All items that are not asked about are drawn, though the automated phase scores fewer.
    assert choosing.pool_sizes.train >= (50 + 20 + 20) + (2 * 50 + 20)
    many = choosing.model_copy(update={"automation_items": 80})
    assert many.pool_sizes.train == 2 * (50 + 20 + 80), "the automated phase takes what was not asked about"
