"""A round's discriminator: trained on reviews and known truth, calibrated and measured on unseen items."""

import itertools
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from data_specs.errors import FlowError
from data_specs.keys import derive_key
from data_specs.shard import ShardRef
from flows.rorem.human_review import ReviewRequest, extension_draw, review
from flows.rorem.phases import (
    Phase,
    PhaseStart,
    RoundRun,
    as_remover,
    propose_over_shards,
    scores_of,
    seeded,
)
from flows.runtime.runs import fail_cleanly
from flows.runtime.shards import say
from flows.runtime.trainings import TrainingRunConfig
from models.profiles import FromProfile, from_profile
from models.rorem.discriminator import DiscriminatorConfig
from models.rorem.remover import InpaintingRemover, SamplingConfig
from models.training.loop import TrainingConfig
from tasks.registry.removers import RemoverRef
from tasks.registry.store import network_at
from tasks.review.quality import batch_quality, error_rate
from tasks.rorem.calibrate import CalibrationWork, Purity, calibrate, calibrate_discriminator
from tasks.rorem.grow import candidates_by_item
from tasks.rorem.labelled_pairs import LabelledPairs, choose_pairs
from tasks.rorem.questions import best_of_items, calibrating_candidates, one_of_items
from tasks.rorem.sample_pool import choose_items, fresh_items
from tasks.rorem.score import (
    DiscriminatorMeasure,
    Rules,
    good_by_truth,
    measure_discriminator,
    without_ground_truth,
)
from tasks.rorem.train_discriminator import (
    DiscriminatorRef,
    DiscriminatorTraining,
    TrainedDiscriminator,
    train_discriminator,
    train_from_reviews,
)
from tasks.storage.ledger.shards import place_of
from tasks.storage.shards import candidate_items
from tasks.storage.workspace import Workspace, items_of
from tasks.training.progress import training_progress


class DiscriminatorOutcome(BaseModel):
    """The round's discriminator: where it lies, and how far it can be trusted."""

    model_config = ConfigDict(frozen=True)

    trained: TrainedDiscriminator
    measured: DiscriminatorMeasure | None
    """None where the fresh items' truth is unknown and people answered no fresh candidate."""


def discriminator_phase(run: RoundRun, standing: PhaseStart) -> DiscriminatorOutcome | None:
    """Train the discriminator on all reviews so far, calibrate it, and measure it on fresh items.

    It is trained before anybody is asked, so that people are asked about the candidates it would choose. The
    reviews that calibrate are of what the remover makes now, which is what the discriminator will score.
    Fresh candidates whose item's truth nobody knows are shown to people too, in the same batch. Their answers
    train nothing: they are what it is measured against.

    Args:
        run: The round.
        standing: The remover in charge after the human phase.

    Returns:
        None if the round asks no discriminator, or if the review that calibrates was abandoned.
    """
    config, workspace, name = run.config, run.workspace, f"discriminator {run.config.round}"
    if config.acceptance != "discriminator":
        return None
    outcome = workspace.ledger().results.get("discriminator", name, DiscriminatorOutcome, run=run.key)
    if outcome is not None:
        return outcome
    phase = run.phase("calibration")
    # Drawn before the fresh items, which take whole scenes that no phase has used.
    items = choose_items(workspace, phase.draw, "calibration", config.calibration_items, config.seed)
    fresh = _propose_fresh(run, standing)
    trained = _train(run, name, standing)
    propose = partial(propose_over_shards, workspace, phase, config.proposal, standing.remover)
    request = review(
        workspace,
        phase,
        config.reviewers,
        ReviewRequest(items, propose(items)),
        propose,
        without_ground_truth(workspace, fresh),
        partial(_asked, run, phase, trained.discriminator),
    )
    if request.abandoned:
        return None
    calibrated = _calibrate(run, name, trained, request)
    outcome = DiscriminatorOutcome(trained=calibrated, measured=_measure(run, calibrated, fresh))
    workspace.ledger().results.record("discriminator", name, outcome, run=run.key)
    return outcome


def _propose_fresh(run: RoundRun, standing: PhaseStart) -> list[ShardRef]:
    """Candidates that train nothing: the discriminator is measured on them."""
    config, phase = run.config, run.phase("fresh")
    items = fresh_items(run.workspace, run.key, config.round, config.discriminator_test_items, config.seed)
    return propose_over_shards(run.workspace, phase, config.proposal, standing.remover, items)


def _train(run: RoundRun, name: str, standing: PhaseStart) -> TrainedDiscriminator:
    config, ledger = run.config, run.workspace.ledger()
    base = ledger.models.of_hash(ledger.models.promotions("remover")[0].hash)
    drawn = ledger.draws.drawn(run.phase("calibration").draw)
    work = DiscriminatorTraining(
        name=name,
        backbone=as_remover(base, config.sampling),
        candidates=tuple(reviewed_shards(run.workspace, config.round, [*drawn, *_extensions(run)])),
        discriminator=config.discriminator,
        # By the name of earlier versions, so that the same settings train the same discriminator.
        training=seeded(config.discriminator_training, config.seed, f"judge {config.round}"),
        held_out_items=tuple(drawn),
        pairs=_labelled_pairs(run, standing),
    )
    return train_discriminator(run.workspace, work, config.distributed)


def _extensions(run: RoundRun) -> list[str]:
    """The items by which the calibrating review was extended: the training before it does not know them."""
    draws, draw = run.workspace.ledger().draws, run.phase("calibration").draw
    drawn = (draws.drawn(extension_draw(draw, number)) for number in itertools.count())
    return [item for items in itertools.takewhile(bool, drawn) for item in items]


def _labelled_pairs(run: RoundRun, standing: PhaseStart) -> LabelledPairs | None:
    """Candidates of training pairs with known truth, by the remover in charge. None where none are wanted."""
    config, workspace = run.config, run.workspace
    if not config.labelled_pairs or not config.discriminator.voters or standing.version is None:
        return None
    keys, shards = choose_pairs(workspace, standing.version, config.labelled_pairs, config.seed)
    if not keys:
        return None
    phase = run.phase("pairs")
    refs = propose_over_shards(workspace, phase, config.proposal, standing.remover, keys, holders=shards)
    return LabelledPairs(candidates=tuple(refs), truths=shards, quality=config.oracle.quality)


def _asked(
    run: RoundRun, phase: Phase, discriminator: DiscriminatorRef, refs: Sequence[ShardRef]
) -> frozenset[str]:
    """What people are asked about: one candidate of each item that calibrates, at most two of a fresh one."""
    config, workspace = run.config, run.workspace
    scores = scores_of(workspace, phase, refs, discriminator, config.workers)
    calibrating = candidates_by_item(workspace, [ref for ref in refs if ref.purpose != "fresh"])
    fresh = candidates_by_item(workspace, [ref for ref in refs if ref.purpose == "fresh"])
    return frozenset(
        [
            *calibrating_candidates(calibrating, scores, config.seed),
            *one_of_items(fresh, config.seed),
            *best_of_items(fresh, scores),
        ]
    )


def _calibrate(
    run: RoundRun, name: str, trained: TrainedDiscriminator, request: ReviewRequest
) -> TrainedDiscriminator:
    work = CalibrationWork(
        name=name,
        trained=trained,
        candidates=tuple(request.refs),
        items=tuple(request.items),
        purity=run.config.purity,
        error_rate=_error_rate(run),
    )
    return calibrate_discriminator(run.workspace, work)


def _error_rate(run: RoundRun) -> float:
    """How often the round's reviewers err: the oracle as it is set, people as gold and overlap tell."""
    if run.config.human_review is None:
        return run.config.oracle.error_rate
    ledger = run.workspace.ledger()
    asked = {run.phase("human").batch, run.phase("calibration").batch}
    there = asked.intersection(batch.name for batch in ledger.batches.all())
    return error_rate([batch_quality(ledger, name) for name in sorted(there)])


def _measure(
    run: RoundRun, calibrated: TrainedDiscriminator, fresh: list[ShardRef]
) -> DiscriminatorMeasure | None:
    """The discriminator against the truth, and against people's answers where the truth is unknown."""
    config, workspace = run.config, run.workspace
    good = _good_by_people(workspace, fresh) | good_by_truth(workspace, fresh, config.oracle)
    if not good:
        say(
            f"discriminator {config.round} is not measured: no fresh candidate has an answer or a known truth"
        )
        return None
    measured = measure_discriminator(
        workspace,
        tuple(fresh),
        good,
        calibrated.discriminator,
        Rules(config.score_threshold, calibrated.pure_threshold),
        config.round,
        calibrated.reviewed,
        config.seed,
    )
    result = measured.result.model_copy(update={"error_rate": _error_rate(run)})
    return measured.model_copy(update={"result": result})


def _good_by_people(workspace: Workspace, fresh: list[ShardRef]) -> dict[str, bool]:
    """What people decided on the fresh candidates; skips are left out."""
    decisions = workspace.ledger().reviews.decisions(items_of(workspace, fresh))
    return {key: decision == "yes" for key, decision in decisions.items() if decision != "skip"}


def reviewed_shards(
    workspace: Workspace, round: int | None = None, without: Collection[str] = ()
) -> list[ShardRef]:
    """Candidate shards with a training sample about which something is decided; fresh items' train nothing.

    Args:
        workspace: Where.
        round: The last that counts; None: all.
        without: Pool items that do not count.
    """
    ledger, left_out = workspace.ledger(), set(without)
    answered = [row for row in ledger.shards.answered(round) if row.item not in left_out]
    decided = ledger.reviews.decisions([row.key for row in answered])
    names = {row.shard for row in answered if row.key in decided}
    return sorted(ledger.shards.all_named(names).values(), key=place_of)


# Train a discriminator on all that was reviewed, in as many processes as there are: RORem's, at any size.


class DiscriminatorTrainingConfig(TrainingRunConfig):
    """What a discriminator is trained from, and how."""

    backbone: Path | None = Field(
        default=None, description="Folder of the backbone network. None: the workspace's first remover."
    )
    discriminator: Annotated[DiscriminatorConfig, FromProfile("discriminator_shape")] = from_profile(
        "Architecture of the discriminator."
    )
    training: Annotated[TrainingConfig, FromProfile("discriminator")] = from_profile(
        "Number of steps, batch size and learning rate."
    )
    sampling: Annotated[SamplingConfig, FromProfile("sampling")] = from_profile(
        "How the backbone samples. It names the backbone, and does not change the training."
    )
    held_out_fraction: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="Fraction of the reviewed items for calibration. They are not used for training.",
    )
    error_rate: float = Field(
        default=0.02,
        ge=0,
        lt=0.5,
        description="Fraction of wrong answers, as `cleanplate review quality` shows on gold items.",
    )


@flow(name="train-discriminator", flow_run_name="train a discriminator, {config.profile}")
@fail_cleanly
def train_on_reviews(config: DiscriminatorTrainingConfig) -> TrainedDiscriminator:
    """Train, calibrate, keep the weights and enter them in the ledger.

    Raises:
        FlowError: If too little is reviewed, or there is no network to score with.
    """
    workspace = Workspace.open(config.workspace)
    shards = reviewed_shards(workspace)
    if not shards:
        raise FlowError(f"{config.workspace}: has no reviews; run `cleanplate round 1`, or let people review")
    items = held_out(_items(workspace, shards), config.held_out_fraction, config.training.seed)
    work = DiscriminatorTraining(
        name="discriminator on all reviews",
        backbone=_backbone(workspace, config),
        candidates=tuple(shards),
        discriminator=config.discriminator,
        training=config.training,
        held_out_items=items,
    )
    with training_progress(f"training {work.name}") as progress:
        trained = train_from_reviews(workspace, work, progress, config.distributed)
    return calibrate(
        workspace,
        CalibrationWork(
            name=work.name,
            trained=trained,
            candidates=tuple(shards),
            items=items,
            purity=Purity(),
            error_rate=config.error_rate,
        ),
    )


def held_out(items: list[str], fraction: float, seed: int) -> tuple[str, ...]:
    """The items, in order, that calibrate: each by a draw of its own, whatever the others are."""
    return tuple(item for item in items if int(derive_key("held out", seed, item)[:8], 16) < fraction * 16**8)


def _items(workspace: Workspace, shards: list[ShardRef]) -> list[str]:
    return sorted(set(candidate_items(workspace, shards).values()))


def _backbone(workspace: Workspace, config: DiscriminatorTrainingConfig) -> RemoverRef:
    sampling = config.sampling
    if config.backbone is not None:
        folder = config.backbone.absolute()
        return RemoverRef(
            hash=InpaintingRemover(network_at(folder), sampling).model_hash,
            folder=str(folder),
            sampling=sampling,
        )
    promoted = workspace.ledger().models.promotions("remover")
    if not promoted:
        raise FlowError("the workspace has no remover; name a network's folder with --backbone")
    return as_remover(workspace.ledger().models.of_hash(promoted[0].hash), sampling)
