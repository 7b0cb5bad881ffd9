"""Calibrate a trained discriminator on answers that it was not trained on (papers.md, facts 3 and 5)."""

import math
from dataclasses import replace

from prefect import task
from pydantic import BaseModel, ConfigDict, Field

from data_specs.errors import FlowError
from data_specs.keys import derive_key
from data_specs.shard import ShardRef
from models.rorem.calibration import fit_platt, pure_threshold
from models.rorem.discriminator import LoraDiscriminator
from models.training.distributed import first_process_first
from tasks.rorem.grow import candidates_by_item
from tasks.rorem.questions import best_of_items
from tasks.rorem.train_discriminator import (
    TrainedDiscriminator,
    answers_to,
    keep_discriminator,
    open_discriminator,
    score_arguments,
)
from tasks.storage.shards import ShardReader, decode_candidate
from tasks.storage.workspace import Workspace


class Purity(BaseModel):
    """How pure the kept set shall be, and how surely."""

    model_config = ConfigDict(frozen=True)

    fraction: float = Field(
        default=0.9, ge=0.5, lt=1, description="Wanted fraction of good removals among the kept ones."
    )
    confidence: float = Field(
        default=0.9, ge=0.5, lt=1, description="Wanted probability that the kept ones are that pure."
    )


class CalibrationWork(BaseModel):
    """Everything that decides a calibration, beside the answers in the ledger."""

    model_config = ConfigDict(frozen=True)

    name: str
    """A label for people. It does not count in the digest."""
    trained: TrainedDiscriminator
    candidates: tuple[ShardRef, ...]
    """Shards with all candidates of the items."""
    items: tuple[str, ...]
    """Pool items whose answers calibrate."""
    purity: Purity
    error_rate: float
    """Fraction of wrong answers among the reviewers', 0 to below 0.5."""

    @property
    def digest(self) -> str:
        """The name of the work, without the answers."""
        facts = self.model_dump_json(include={"candidates", "items", "purity", "error_rate"})
        return derive_key("calibration", self.trained.discriminator.hash, facts)


def calibrate(workspace: Workspace, work: CalibrationWork) -> TrainedDiscriminator:
    """Fit the probabilities, and the threshold that keeps a pure set. Done once for the same answers.

    The threshold is certified on answers to items' best candidates, because these are what a phase keeps.

    Raises:
        FlowError: If none of the items has an answer.
    """
    items = set(work.items)
    answers = {key: yes for key, item, yes in answers_to(workspace, work.candidates) if item in items}
    if not answers:
        raise FlowError("no item has an answer to calibrate the discriminator; review more items")
    digest = derive_key(work.digest, *(f"{key} {yes}" for key, yes in answers.items()))
    results = workspace.ledger().results
    # A launcher's processes all come here; the others find what the first one records.
    with first_process_first():
        recorded = results.get("discriminator_training", digest, TrainedDiscriminator)
        if recorded is not None and workspace.fetched(recorded.weights_folder).is_dir():
            return recorded
        ref, reviewed = work.trained.discriminator, work.trained.reviewed + len(answers)
        fitted, threshold = _fitted(workspace, work, answers)
        kept = keep_discriminator(workspace, digest, fitted, ref.backbone, reviewed, work)
        result = TrainedDiscriminator(
            discriminator=kept,
            reviewed=reviewed,
            losses=work.trained.losses,
            pure_threshold=threshold,
        )
        results.record("discriminator_training", digest, result)
        return result


def _fitted(
    workspace: Workspace, work: CalibrationWork, answers: dict[str, bool]
) -> tuple[LoraDiscriminator, float | None]:
    """The discriminator with its calibration, and the pure threshold. ``answers`` are by candidate."""
    discriminator = open_discriminator(workspace, work.trained.discriminator)
    proposed = candidates_by_item(workspace, work.candidates)
    items = {item: proposed[item] for item in work.items if item in proposed}
    keys = [key for keys in items.values() for key in keys]
    with ShardReader(workspace, work.candidates) as reader:
        shown = [decode_candidate(reader.by_key(key)) for key in keys]
    logits = dict(zip(keys, discriminator.logits(*score_arguments(shown)), strict=True))
    slope, offset = fit_platt([logits[key] for key in answers], list(answers.values()), work.error_rate)
    best = [key for key in best_of_items(items, logits) if key in answers]
    threshold = pure_threshold(
        [1 / (1 + math.exp(-(slope * logits[key] + offset))) for key in best],
        [answers[key] for key in best],
        work.purity.fraction,
        work.purity.confidence,
        work.error_rate,
    )
    return replace(discriminator, slope=slope, offset=offset, _hash=""), threshold


@task(task_run_name="calibrate {work.name}")
def calibrate_discriminator(workspace: Workspace, work: CalibrationWork) -> TrainedDiscriminator:
    """Calibrate a discriminator as a task of its own."""
    return calibrate(workspace, work)
