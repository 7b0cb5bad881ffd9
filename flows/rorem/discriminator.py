"""A round's discriminator: trained on all reviews, calibrated and measured on items it has not seen."""

from functools import partial
from pathlib import Path
from typing import Annotated

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from data_specs.errors import FlowError
from data_specs.keys import derive_key
from data_specs.shard import ShardRef
from flows.rorem.human_review import ReviewRequest, review
from flows.rorem.phases import PhaseStart, RoundRun, as_remover, propose_in_turn, seeded
from flows.runtime.runs import fail_cleanly
from flows.runtime.shards import say
from flows.runtime.trainings import TrainingRunConfig
from models.profiles import FromProfile, from_profile
from models.rorem.discriminator import DiscriminatorConfig
from models.rorem.remover import InpaintingRemover, SamplingConfig
from models.training.loop import TrainingConfig
from tasks.registry.removers import RemoverRef
from tasks.registry.store import network_at
from tasks.rorem.sample_pool import choose_items, fresh_items
from tasks.rorem.score import DiscriminatorMeasure, good_by_truth, measure_discriminator, without_ground_truth
from tasks.rorem.train_discriminator import (
    DiscriminatorTraining,
    TrainedDiscriminator,
    train_discriminator,
    train_from_reviews,
)
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

    The reviews that calibrate are of what the remover makes now, which is what the discriminator will score.
    Fresh candidates whose item's truth nobody knows are shown to people too, in the same batch, and their
    answers, which train nothing, are what it is measured against.

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
    unknown = without_ground_truth(workspace, fresh)
    propose = partial(propose_in_turn, workspace, phase, config.proposal, standing.remover)
    request = review(
        workspace, phase, config.reviewers, ReviewRequest(items, propose(items)), propose, unknown
    )
    if request.abandoned:
        return None
    trained = _train(run, name, request)
    outcome = DiscriminatorOutcome(trained=trained, measured=_measure(run, trained, fresh, unknown))
    workspace.ledger().results.record("discriminator", name, outcome, run=run.key)
    return outcome


def _propose_fresh(run: RoundRun, standing: PhaseStart) -> list[ShardRef]:
    """Candidates that train nothing: the discriminator is measured on them."""
    config, phase = run.config, run.phase("fresh")
    items = fresh_items(run.workspace, run.key, config.round, config.discriminator_test_items, config.seed)
    return propose_in_turn(run.workspace, phase, config.proposal, standing.remover, items)


def _train(run: RoundRun, name: str, calibration: ReviewRequest) -> TrainedDiscriminator:
    config, ledger = run.config, run.workspace.ledger()
    base = ledger.models.of_hash(ledger.models.promotions("remover")[0].hash)
    work = DiscriminatorTraining(
        name=name,
        backbone=as_remover(base, config.sampling),
        candidates=tuple(reviewed_shards(run.workspace, config.round)),
        discriminator=config.discriminator,
        # By the name of earlier versions, so that the same settings train the same discriminator.
        training=seeded(config.discriminator_training, config.seed, f"judge {config.round}"),
        held_out_items=tuple(calibration.items),
    )
    return train_discriminator(run.workspace, work, config.distributed)


def _measure(
    run: RoundRun, trained: TrainedDiscriminator, fresh: list[ShardRef], unknown: list[ShardRef]
) -> DiscriminatorMeasure | None:
    """The discriminator against the truth, and against people's answers where the truth is unknown."""
    config, workspace = run.config, run.workspace
    good = _good_by_people(workspace, unknown) | good_by_truth(workspace, fresh, config.oracle)
    if not good:
        say(
            f"discriminator {config.round} is not measured: no fresh candidate has an answer or a known truth"
        )
        return None
    return measure_discriminator(
        workspace,
        tuple(fresh),
        good,
        trained.discriminator,
        config.score_threshold,
        config.round,
        trained.reviewed,
    )


def _good_by_people(workspace: Workspace, fresh: list[ShardRef]) -> dict[str, bool]:
    """What people decided on the fresh candidates; skips are left out."""
    decisions = workspace.ledger().reviews.decisions(items_of(workspace, fresh))
    return {key: decision == "yes" for key, decision in decisions.items() if decision != "skip"}


def reviewed_shards(workspace: Workspace, round: int | None = None) -> list[ShardRef]:
    """Candidate shards with a training sample about which something is decided; fresh items' train nothing.

    Args:
        workspace: Where.
        round: The last that counts; None: all.
    """
    ledger = workspace.ledger()
    shards = [ref for ref in ledger.shards.all(stage="candidates") if round is None or ref.round <= round]
    rows, measuring = (
        ledger.shards.samples_in([ref.name for ref in shards], "train"),
        ledger.draws.measuring_scenes(),
    )
    keys = {name: [row.key for row in held if row.scene not in measuring] for name, held in rows.items()}
    decided = ledger.reviews.decisions([key for held in keys.values() for key in held])
    return [ref for ref in shards if not decided.keys().isdisjoint(keys[ref.name])]


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
    work = DiscriminatorTraining(
        name="discriminator on all reviews",
        backbone=_backbone(workspace, config),
        candidates=tuple(shards),
        discriminator=config.discriminator,
        training=config.training,
        held_out_items=held_out(_items(workspace, shards), config.held_out_fraction, config.training.seed),
    )
    with training_progress(f"training {work.name}") as progress:
        return train_from_reviews(workspace, work, progress, config.distributed)


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
