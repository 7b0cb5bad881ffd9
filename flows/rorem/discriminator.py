"""A round's discriminator: trained on all reviews, calibrated and measured on items it has not seen."""

from functools import partial
from pathlib import Path

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from data_specs.errors import FlowError
from data_specs.keys import derive_key
from data_specs.shard import ShardRef
from flows.report.artifacts import publish_discriminator
from flows.rorem.config import RoundSettings
from flows.rorem.human_review import ReviewPhase, ReviewRequest, review
from flows.rorem.phases import PhaseStart, as_remover, propose_in_turn, seeded
from flows.rorem.train_remover import TrainingRunConfig
from flows.runtime.runs import fail_cleanly
from flows.runtime.shards import say
from models.profiles import PROFILES
from models.rorem.discriminator import DiscriminatorConfig
from models.rorem.remover import InpaintingRemover
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
from tasks.storage.pool import items_of
from tasks.storage.shards import ShardReader, decode_candidate
from tasks.storage.workspace import Workspace
from tasks.training.progress import training_progress


class DiscriminatorOutcome(BaseModel):
    """The round's discriminator: where it lies, and how far it can be trusted."""

    model_config = ConfigDict(frozen=True)

    trained: TrainedDiscriminator
    measured: DiscriminatorMeasure | None
    """None where the fresh items' truth is unknown and people answered no fresh candidate."""


def discriminator_phase(
    config: RoundSettings, workspace: Workspace, run: str, round: int, standing: PhaseStart
) -> DiscriminatorOutcome | None:
    """Train the discriminator on all reviews so far, calibrate it, and measure it on fresh items.

    The reviews that calibrate are of what the remover makes now, which is what the discriminator will score.
    Fresh candidates whose item's truth nobody knows are shown to people too, in the same batch, and their
    answers, which train nothing, are what it is measured against.

    Returns:
        None if the review that calibrates was abandoned.
    """
    name = f"discriminator {round}"
    known = workspace.ledger().phase(run, name)
    if known is not None:
        return DiscriminatorOutcome.model_validate(known)
    held_out = choose_items(workspace, f"{run} calibration {round}", config.calibration_items, config.seed)
    propose = partial(propose_in_turn, config, workspace, round, "calibration", remover=standing.remover)
    unseen = fresh_items(workspace, run, round, config.discriminator_test_items, config.seed)
    fresh = propose_in_turn(config, workspace, round, "fresh", unseen, standing.remover)
    truth = workspace.ledger().shards(stage="truth")
    beside = without_ground_truth(workspace, fresh, truth)
    phase = ReviewPhase("calibration", round)
    asked = review(
        config, workspace, run, phase, ReviewRequest(held_out, propose(items=held_out)), propose, beside
    )
    if asked.abandoned:
        return None
    base = workspace.ledger().model(workspace.ledger().promotions("remover")[0].hash)
    work = DiscriminatorTraining(
        name=name,
        backbone=as_remover(base, config.sampling),
        candidates=tuple(reviewed_shards(workspace, round)),
        discriminator=config.discriminator,
        # By the name of earlier versions, so that the same settings train the same discriminator.
        training=seeded(config.discriminator_training, config.seed, f"judge {round}"),
        held_out_items=tuple(asked.items),
    )
    trained = train_discriminator(workspace, work)
    good = _good_by_people(workspace, beside) | good_by_truth(workspace, fresh, truth, config.oracle)
    outcome = DiscriminatorOutcome(
        trained=trained, measured=_measured(config, workspace, round, trained, fresh, good)
    )
    workspace.ledger().record_phase(run, name, outcome.model_dump(mode="json"))
    return outcome


def _measured(
    config: RoundSettings,
    workspace: Workspace,
    round: int,
    trained: TrainedDiscriminator,
    fresh: list[ShardRef],
    good: dict[str, bool],
) -> DiscriminatorMeasure | None:
    if not good:
        say(f"discriminator {round} is not measured: no fresh candidate has an answer or a known truth")
        return None
    measured = measure_discriminator(
        workspace, tuple(fresh), good, trained.discriminator, config.score_threshold, round, trained.reviewed
    )
    publish_discriminator(measured.result, measured.curves)
    return measured


def _good_by_people(workspace: Workspace, fresh: list[ShardRef]) -> dict[str, bool]:
    """What people decided on the fresh candidates; skips are left out."""
    decisions = workspace.ledger().decisions(items_of(workspace, fresh))
    return {key: each == "yes" for key, each in decisions.items() if each != "skip"}


def reviewed_shards(workspace: Workspace, round: int | None = None) -> list[ShardRef]:
    """Candidate shards with a training sample about which something is decided; fresh items' train nothing.

    Args:
        workspace: Where.
        round: The last that counts; None: all.
    """
    ledger = workspace.ledger()
    shards = [ref for ref in ledger.shards(stage="candidates") if round is None or ref.round <= round]
    rows, measuring = ledger.samples_in([ref.name for ref in shards], "train"), ledger.measuring_scenes()
    keys = {name: [row.key for row in held if row.scene not in measuring] for name, held in rows.items()}
    decided = ledger.decisions([key for held in keys.values() for key in held])
    return [ref for ref in shards if not decided.keys().isdisjoint(keys[ref.name])]


# Train a discriminator on all that was reviewed, in as many processes as there are: RORem's, at any size.


class DiscriminatorTrainingConfig(TrainingRunConfig):
    """What a discriminator is trained from, and how."""

    backbone: Path | None = Field(
        default=None, description="A network's folder to score with; None: the workspace's first remover."
    )
    discriminator: DiscriminatorConfig | None = Field(default=None, description="The discriminator's shape.")
    held_out_fraction: float = Field(
        default=0.2, gt=0, lt=1, description="Of the reviewed items: they calibrate and do not train."
    )


@flow(name="train-discriminator", flow_run_name="train a discriminator, {config.profile}")
@fail_cleanly
def train_on_reviews(config: DiscriminatorTrainingConfig) -> TrainedDiscriminator:
    """Train, calibrate, keep the weights and enter them in the ledger.

    Raises:
        FlowError: If too little is reviewed, or there is no network to score with.
    """
    workspace, profile = Workspace.open(config.workspace), PROFILES[config.profile]
    shards = reviewed_shards(workspace)
    if not shards:
        raise FlowError(f"{config.workspace}: nothing is reviewed; run `cleanplate round 1`, or review first")
    training = config.training or profile.discriminator
    work = DiscriminatorTraining(
        name="discriminator on all reviews",
        backbone=_backbone(workspace, config),
        candidates=tuple(shards),
        discriminator=config.discriminator or profile.discriminator_shape,
        training=training,
        held_out_items=held_out(_items(workspace, shards), config.held_out_fraction, training.seed),
    )
    with training_progress(f"training {work.name}") as progress:
        return train_from_reviews(workspace, work, progress, config.distributed or profile.distributed)


def held_out(items: list[str], share: float, seed: int) -> tuple[str, ...]:
    """The items, in order, that calibrate: each by a draw of its own, whatever the others are."""
    return tuple(item for item in items if int(derive_key("held out", seed, item)[:8], 16) < share * 16**8)


def _items(workspace: Workspace, shards: list[ShardRef]) -> list[str]:
    with ShardReader(workspace, shards) as reader:
        return sorted({decode_candidate(sample).item for sample in reader})


def _backbone(workspace: Workspace, config: DiscriminatorTrainingConfig) -> RemoverRef:
    sampling = PROFILES[config.profile].sampling
    if config.backbone is not None:
        folder = config.backbone.absolute()
        return RemoverRef(
            hash=InpaintingRemover(network_at(folder), sampling).model_hash,
            folder=str(folder),
            sampling=sampling,
        )
    promoted = workspace.ledger().promotions("remover")
    if not promoted:
        raise FlowError("the workspace has no remover; name a network's folder with --backbone")
    return as_remover(workspace.ledger().model(promoted[0].hash), sampling)
