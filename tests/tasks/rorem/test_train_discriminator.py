"""Training the discriminator: answers that never part, calibration on unseen items, refusals."""

from collections import Counter
from datetime import UTC, datetime

import pytest

from data_specs.errors import FlowError
from data_specs.keys import derive_key
from data_specs.review import Decision, Review
from models.images.mask_variants import MaskVariant
from models.rorem.calibration import fit_platt
from models.rorem.discriminator import DiscriminatorConfig
from models.training.loop import TrainingConfig
from tasks.review.oracle import read_candidates
from tasks.rorem.calibrate import CalibrationWork, Purity, calibrate
from tasks.rorem.propose import ProposeWork, propose
from tasks.rorem.score import ScoreWork, score_all, score_shard
from tasks.rorem.train_discriminator import (
    DiscriminatorTraining,
    newest_discriminator,
    open_discriminator,
    score_arguments,
    train_from_reviews,
)
from tasks.sources.synthetic.samples import SyntheticConfig
from tasks.sources.synthetic.shards import RenderWork, render
from tasks.storage.workspace import items_of

VARIANTS: tuple[MaskVariant, ...] = ("tight", "dilated", "left")
TRAINING = TrainingConfig(steps=4, batch_size=6, warmup_steps=1, checkpoint_every=2)


class Killed(BaseException):
    """Stands for a signal: nothing catches it."""


@pytest.fixture
def reviewed(studio):
    """72 candidates of 24 items in one shard; ``answer`` records answers for them."""
    work = ProposeWork(
        round=1,
        index=0,
        phase="human 1",
        purpose="human",
        pool=(studio.pool,),
        items=tuple(items_of(studio.workspace, [studio.pool])),
        variants=VARIANTS,
        remover=studio.remover,
    )
    studio.candidates = propose(studio.workspace, work)
    return studio


def answer(studio, decision_of) -> None:
    """Record ``decision_of(position, candidate)`` for every candidate."""
    reviews = []
    for place, shown in enumerate(read_candidates(studio.workspace, studio.candidates)):
        decision: Decision = decision_of(place, shown)
        reviews.append(
            Review(
                event=derive_key("review", shown.key),
                candidate=shown.key,
                decision=decision,
                reviewer="anna",
                kind="person",
                answered_at=datetime.now(UTC),
            )
        )
    studio.workspace.ledger().reviews.record(reviews)


def training(studio, **changes) -> DiscriminatorTraining:
    facts = {
        "name": "judge 1",
        "backbone": studio.remover,
        "candidates": (studio.candidates,),
        "discriminator": DiscriminatorConfig(head="pooled", head_width=16),
        "training": TRAINING,
        "held_out_items": held_out(studio),
    }
    return DiscriminatorTraining.model_validate({**facts, **changes})


def held_out(studio, every: int = 3) -> tuple[str, ...]:
    """Every third item of the shard."""
    items = sorted({c.item for c in read_candidates(studio.workspace, studio.candidates)})
    return tuple(items[::every])


def by_variant(_place: int, shown) -> Decision:
    return "yes" if shown.variant == "left" else "no"


def calibrating(studio, trained, **changes) -> CalibrationWork:
    facts = {
        "name": "judge 1",
        "trained": trained,
        "candidates": (studio.candidates,),
        "items": held_out(studio),
        "purity": Purity(),
        "error_rate": 0.0,
    }
    return CalibrationWork.model_validate({**facts, **changes})


@pytest.mark.parametrize("voters", [0, 2])
def test_trained_on_some_items_calibrated_on_the_others_and_done_once(reviewed, voters: int) -> None:
    answer(reviewed, by_variant)
    space, told = reviewed.workspace, []
    work = training(reviewed, discriminator=DiscriminatorConfig(head="pooled", head_width=16, voters=voters))
    uncalibrated = train_from_reviews(space, work, lambda *now: told.append(now[0]))
    assert (uncalibrated.reviewed, uncalibrated.calibrated, told) == (48, False, [1, 2, 3, 4])
    assert newest_discriminator(space) is None, "nobody scores with it before it is calibrated"
    trained = calibrate(space, calibrating(reviewed, uncalibrated))
    assert (trained.reviewed, trained.calibrated) == (72, True)
    assert newest_discriminator(space) == trained.discriminator
    discriminator = open_discriminator(space, trained.discriminator)
    shown = read_candidates(space, reviewed.candidates)
    kept = [c for c in shown if c.item in held_out(reviewed)]
    assert 0 < len(kept) < 72
    logits = discriminator.logits(*score_arguments(kept))
    slope, offset = fit_platt(logits, [c.variant == "left" for c in kept])
    assert (discriminator.slope, discriminator.offset) == pytest.approx((slope, offset), rel=1e-3, abs=1e-3)
    assert discriminator.model_hash == trained.discriminator.hash
    entry = space.ledger().models.of_hash(trained.discriminator.hash)
    assert (entry.kind, entry.parent) == ("discriminator", reviewed.remover.hash)
    assert train_from_reviews(space, work, lambda *now: told.append(now[0])) == uncalibrated
    assert len(told) == 4, "nothing was trained again"
    assert calibrate(space, calibrating(reviewed, uncalibrated)) == trained

    assert (
        score_shard.fn(space, ScoreWork(ref=reviewed.candidates, discriminator=trained.discriminator)) == 72
    )
    stored = space.ledger().scores.of(trained.discriminator.hash)
    expected = score_all(discriminator, shown)
    assert [stored[c.key] for c in shown] == pytest.approx(expected)


def test_candidates_of_two_sizes_are_made_learnt_from_and_scored(studio) -> None:
    space = studio.workspace
    synthetic_64 = SyntheticConfig(size_px=64, seed=2, split="train")
    large = render(
        space, RenderWork(round=0, index=5, stage="pool", renderer=synthetic_64, first=0, count=12)
    )
    keys = items_of(space, [studio.pool, large])
    work = ProposeWork(
        round=1,
        index=0,
        phase="human 1",
        purpose="human",
        pool=(studio.pool, large),
        items=tuple(keys[::2] + keys[1::2]),
        variants=VARIANTS,
        remover=studio.remover,
    )
    studio.candidates = propose(space, work)
    shown = read_candidates(space, studio.candidates)
    assert Counter(c.removal.shape for c in shown) == {(32, 32, 3): 24 * 3, (64, 64, 3): 12 * 3}
    assert all(c.removal.shape == c.source.shape for c in shown)
    answer(studio, by_variant)
    trained = train_from_reviews(space, training(studio))
    assert len(trained.losses.means) == 4
    assert score_shard.fn(space, ScoreWork(ref=studio.candidates, discriminator=trained.discriminator)) == 108


def test_killed_and_started_again_it_ends_with_the_same_discriminator(reviewed) -> None:
    answer(reviewed, by_variant)

    def kill(step: int, _total: int, _loss: float) -> None:
        if step == 3:
            raise Killed

    with pytest.raises(Killed):
        train_from_reviews(reviewed.workspace, training(reviewed), kill)
    told: list[int] = []
    resumed = train_from_reviews(reviewed.workspace, training(reviewed), lambda *now: told.append(now[0]))
    unbroken_work = training(reviewed, training=TRAINING.model_copy(update={"checkpoint_every": 50}))
    unbroken = train_from_reviews(reviewed.workspace, unbroken_work)
    assert told == [3, 4]
    assert resumed.losses == unbroken.losses
    assert resumed.discriminator.hash == unbroken.discriminator.hash


def test_skips_do_not_count_and_too_few_answers_are_refused(reviewed) -> None:
    answer(reviewed, lambda place, _shown: "skip" if place >= 45 else "yes" if place % 2 else "no")
    trained = train_from_reviews(reviewed.workspace, training(reviewed))
    held = sum(
        c.item in held_out(reviewed) for c in read_candidates(reviewed.workspace, reviewed.candidates)[:45]
    )
    assert trained.reviewed == 45 - held


@pytest.mark.parametrize(("yes", "no"), [(9, 63), (63, 9)])
def test_too_few_of_a_kind_are_refused(reviewed, yes: int, no: int) -> None:
    answer(reviewed, lambda place, _shown: "yes" if place < yes else "no")
    sentence = f"needs 10 YES and 10 NO to train on, but there are {yes} and {no}; review more items"
    with pytest.raises(FlowError, match=sentence):
        train_from_reviews(reviewed.workspace, training(reviewed, held_out_items=()))


def test_no_answer_to_train_on_or_to_calibrate_with_is_refused_in_a_sentence(reviewed) -> None:
    answer(reviewed, by_variant)
    with pytest.raises(FlowError, match="there are 0 and 0; review more items"):
        train_from_reviews(reviewed.workspace, training(reviewed, held_out_items=held_out(reviewed, 1)))
    trained = train_from_reviews(reviewed.workspace, training(reviewed))
    with pytest.raises(FlowError, match="no item has an answer to calibrate.*review more items"):
        calibrate(reviewed.workspace, calibrating(reviewed, trained, items=()))
