"""What follows the rounds: RORem's final stage at high resolution, and its distillation to few steps."""

import time

from flows.ingest import ingest
from flows.ingest_config import IngestConfig
from flows.report.phase_grids import publish_standing
from flows.rorem.cycle_config import CycleConfig, EndIdentity
from flows.rorem.phases import (
    Growth,
    PhaseOutcome,
    PhaseStart,
    Retrained,
    begin,
    finish,
    finished,
    measure_on,
    seeded,
    train_and_compare,
)
from flows.runtime.shards import say
from tasks.rorem.distill import Distillation, distil
from tasks.sources.readers import HighResolutionSource
from tasks.storage.workspace import Workspace

FINAL, DISTILLED = "final stage", "distilled"


def final_phase(config: CycleConfig, workspace: Workspace, images: HighResolutionSource) -> PhaseOutcome:
    """Pairs at high resolution join the dataset, and the remover is trained on all of it (fact 4)."""
    step, began = EndIdentity.of(config).step(FINAL), time.monotonic()
    outcome = finished(workspace, step)
    if outcome is None:
        say("making pairs at high resolution for the final stage")
        # Prefect suspends no subflow: a cycle that waits for people has all of its work in its own run.
        play = ingest if config.human_review is None else ingest.fn
        made = play(IngestConfig(workspace=config.workspace, source=images, image_format=config.image_format))
        start = begin(workspace, step, config.sampling)
        assert start.version is not None, "the rounds made a version"
        training = config.remover_training
        trained = train_and_compare(workspace, step.name, start, start.version, training, config.success)
        growth = Growth(made.kept + made.refused, made.by_split.get("train", 0))
        outcome = finish(workspace, step, "final", trained, growth, began)
    publish_standing(workspace, step, outcome, config.evaluation_source)
    return outcome


def distillation_phase(config: CycleConfig, workspace: Workspace) -> PhaseOutcome:
    """The champion's work in a few steps (papers.md, fact 7). The result is measured, and not promoted."""
    step, began = EndIdentity.of(config).step(DISTILLED), time.monotonic()
    outcome = finished(workspace, step)
    if outcome is None:
        start = begin(workspace, step, config.sampling)
        assert start.version is not None, "the rounds made a version"
        version = workspace.ledger().versions.numbered(start.version)
        work = Distillation(
            name=step.name,
            parent=start.remover,
            version=version.number,
            version_sha256=version.sha256,
            training=seeded(config.distillation, config.seed, step.name),
            loss=config.distillation_loss,
            lora=config.lora,
            sampling=config.distilled_sampling,
        )
        trained = distil(workspace, work, config.distributed)
        steps = config.distilled_sampling.steps
        distilled = Retrained(
            standing=PhaseStart(remover=trained.remover, version=version.number),
            promoted=False,
            reason=f"it works in {steps} steps, and is kept beside the champion",
            trained_on=version.by_split.get("train", 0),
            test=measure_on(workspace, step.name, trained.remover, "test", config.success),
            measured_on=config.success.images("test"),
            losses=trained.losses,
        )
        outcome = finish(workspace, step, "distillation", distilled, Growth(0, 0), began)
    publish_standing(workspace, step, outcome, config.evaluation_source)
    return outcome
