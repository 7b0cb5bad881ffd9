"""RORem's whole cycle: initialisation, then rounds of people and discriminator (papers.md, facts 1 to 4)."""

import resource
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from prefect import flow

from data_specs.composite import CompositingResult
from data_specs.losses import TrainingLosses
from data_specs.round import CycleResult, DatasetSummary, LossCurve
from flows.objectclear.compositing import objectclear_compositing
from flows.report.artifacts import publish_cycle
from flows.report.compositing_artifacts import read_sheets
from flows.report.pages import write_report
from flows.report.phase_grids import publish_standing, read_grids
from flows.rorem.comparisons import clip_results, mask_results
from flows.rorem.cycle_config import CycleConfig, StartIdentity
from flows.rorem.discriminator import DiscriminatorOutcome
from flows.rorem.final_stage import distillation_phase, final_phase
from flows.rorem.initial_data import (
    CycleComposites,
    check_ingested,
    compositing_config,
    enter_base,
    pooled_composites,
    prepare,
)
from flows.rorem.phases import (
    Growth,
    PhaseOutcome,
    Retrained,
    begin,
    finish,
    finished,
    measure_on,
    train_and_compare,
)
from flows.rorem.round import RoundOutcome, rorem_round
from flows.runtime.runs import fail_cleanly
from flows.runtime.shards import say
from tasks.execution import ProcessesConfig
from tasks.storage.workspace import Workspace


@flow(name="rorem-cycle", flow_run_name="cycle to round {config.rounds}")
@fail_cleanly
def rorem_cycle(config: CycleConfig) -> CycleResult:
    """Prepare, compose, initialise, run the rounds, report; after a kill it goes on where it stood.

    Raises:
        FlowError: If the workspace lacks data that the cycle needs.
        ModelError: If the base cannot be used.
    """
    began = time.monotonic()
    workspace = Workspace.open(config.workspace)
    if config.data == "synthetic":
        prepare(workspace, config.preparation, config.pool_sizes, config.seed, config.image_format)
    else:
        check_ingested(workspace, config.pool_sizes)
    enter_base(workspace, config.base, config.sampling)
    composed = _compose(config)
    outcomes = [base_phase(config, workspace), initial_phase(config, workspace)]
    discriminators: dict[int, DiscriminatorOutcome] = {}
    # Prefect suspends no subflow: where people are waited for, the rounds are part of the cycle's own run.
    play = rorem_round if config.human_review is None else rorem_round.fn
    for number in range(1, config.rounds + 1):
        outcome: RoundOutcome = play(config.for_round(number))
        outcomes += [outcome.human, outcome.automation]
        discriminators |= {number: outcome.discriminator} if outcome.discriminator else {}
    if config.high_resolution is not None:
        outcomes.append(final_phase(config, workspace, config.high_resolution))
    if config.distil:
        outcomes.append(distillation_phase(config, workspace))
    return _report(config, workspace, outcomes, discriminators, composed, began)


def _compose(config: CycleConfig) -> CompositingResult | None:
    """The compositing run, where one is asked for and its composites are used."""
    if config.composites is None:
        return None
    if config.composites.use == "pool" and not config.pool_sizes.train:
        return None
    say("compositing: cut-outs with their shadows on other grounds")
    # As with the rounds: a cycle that waits for people must have all of its work in its own run.
    play = objectclear_compositing if config.human_review is None else objectclear_compositing.fn
    settings = compositing_config(config.workspace, config.composites, config.preparation, config.seed)
    return play(settings.model_copy(update={"image_format": config.image_format}))


def base_phase(config: CycleConfig, workspace: Workspace) -> PhaseOutcome:
    """The base as it comes: RORem's first row."""
    step, began = StartIdentity.model_validate(config).step("base model"), time.monotonic()
    outcome = finished(workspace, step)
    if outcome is None:
        start = begin(workspace, step, config.sampling)
        test = measure_on(workspace, step.name, start.remover, "test", config.success)
        base = Retrained(
            standing=start,
            promoted=True,
            reason="where every cycle starts",
            trained_on=0,
            test=test,
            measured_on=config.success.images("test"),
            losses=TrainingLosses(),
        )
        outcome = finish(workspace, step, "base", base, Growth(tested=0, kept=0), began)
    publish_standing(workspace, step, outcome, config.evaluation_source)
    return outcome


def initial_phase(config: CycleConfig, workspace: Workspace) -> PhaseOutcome:
    """Train the initial remover from the base on the captured and pasted pairs."""
    step, began = StartIdentity.model_validate(config).step("initialisation"), time.monotonic()
    outcome = finished(workspace, step)
    if outcome is None:
        start = begin(workspace, step, config.sampling)
        assert start.version is not None, "the preparation made a version"
        training = config.remover_training._replace(training=config.initialisation)
        trained = train_and_compare(workspace, step.name, start, start.version, training, config.success)
        pairs = trained.trained_on
        outcome = finish(workspace, step, "initialisation", trained, Growth(pairs, pairs), began)
    publish_standing(workspace, step, outcome, config.evaluation_source)
    return outcome


def _report(
    config: CycleConfig,
    workspace: Workspace,
    outcomes: Sequence[PhaseOutcome],
    discriminators: Mapping[int, DiscriminatorOutcome],
    composed: CompositingResult | None,
    began: float,
) -> CycleResult:
    """Gather everything, publish it in Prefect and write ``report.html``."""
    initial = outcomes[1].standing
    final = [outcome.standing for outcome in outcomes if outcome.result.kind != "distillation"][-1]
    assert final.version is not None, "a cycle has a dataset version"
    version = workspace.ledger().versions.numbered(final.version)
    measures = [discriminator.measured for discriminator in discriminators.values() if discriminator.measured]
    result = CycleResult(
        phases=[outcome.result for outcome in outcomes],
        discriminators=[measure.result for measure in measures],
        clip=clip_results(workspace, {"initialisation": initial.remover, "final": final.remover}),
        masks=mask_results(workspace, final.remover, config.evaluation_source, config.oracle.quality),
        dataset=DatasetSummary(version=version.number, samples=version.samples, shards=version.shards),
        rejects=workspace.ledger().rejects.counts(),
        composites=None if composed is None else pooled_composites(workspace, composed, final.version),
        seconds=time.monotonic() - began,
        peak_memory_gb=peak_memory_gb(),
    )
    curves = [measure.curves for measure in measures]
    losses = [loss_curve(o.result.name, o.losses) for o in outcomes if o.losses.means]
    losses += [
        loss_curve(f"discriminator {number}", discriminator.trained.losses)
        for number, discriminator in discriminators.items()
    ]
    grids = read_grids(workspace, [outcome.result.name for outcome in outcomes])
    publish_cycle(result, curves, losses, grids)
    settings = config.model_dump(mode="json", exclude={"workspace"})
    sheets = read_sheets(workspace) if composed else {}
    write_report(report_path(workspace), result, curves, losses, grids, sheets, "The RORem cycle", settings)
    workspace.store.share(report_path(workspace).name)
    return result


def report_path(workspace: Workspace) -> Path:
    """Where the report lies."""
    return workspace.root / "report.html"


def loss_curve(name: str, losses: TrainingLosses) -> LossCurve:
    """The curve of a training, as the report draws it."""
    return LossCurve(name=name, steps=losses.steps, losses=list(losses.means))


def peak_memory_gb() -> float:
    """Largest resident memory of this process and of its largest child, in GB (10⁹ bytes)."""
    kilobytes = sum(
        resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return kilobytes * 1024 / 1e9


# The demo: the whole cycle at tiny size, from the sample clip, synthetic scenes and composites to the report.


def demo_config(workspace: Path, rounds: int, seed: int) -> CycleConfig:
    """Sizes that two cores finish in minutes; all else is the tiny profile's default."""
    return CycleConfig(
        workspace=workspace,
        rounds=rounds,
        seed=seed,
        human_items=300,
        automation_items=300,
        discriminator_test_items=120,
        labelled_pairs=120,
        composites=CycleComposites(),
        workers=ProcessesConfig(count=2),
    )
