"""RORem's whole cycle: initialisation, then rounds of people and discriminator (papers.md, facts 1 to 4)."""

import resource
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from data_specs.composite import CompositingResult
from data_specs.errors import FlowError
from data_specs.keys import derive_key
from data_specs.round import ClipResult, CycleResult, DatasetSummary, LossCurve
from flows.objectclear.compositing import objectclear_compositing
from flows.report.artifacts import publish_cycle
from flows.report.compositing_artifacts import read_sheets
from flows.report.pages import write_report
from flows.report.phase_grids import publish_removals, read_grids
from flows.rorem.config import RoundSettings
from flows.rorem.discriminator import DiscriminatorOutcome
from flows.rorem.initial_data import (
    CycleComposites,
    PreparationSettings,
    compositing_config,
    pooled_composites,
    prepare,
)
from flows.rorem.phases import (
    PhaseOutcome,
    begin,
    finish,
    finished,
    measure_on,
    phase_result,
    train_and_compare,
)
from flows.rorem.round import RoundConfig, RoundOutcome, rorem_round
from flows.runtime.runs import fail_cleanly
from flows.runtime.shards import say
from models.baselines.telea import TeleaFill
from models.profiles import PROFILES
from models.training.loop import TrainingConfig
from tasks.evaluation.evaluate import mask_psnr, read_triplets
from tasks.registry.removers import RemoverRef, load_remover
from tasks.storage.workspace import Workspace


class CycleLength(BaseModel):
    """How many rounds; a last base's fields stand first in Prefect's form."""

    model_config = ConfigDict(frozen=True)

    rounds: int = Field(default=2, ge=0, le=99, description="Rounds after the initialisation (RORem: 3).")


class CycleConfig(RoundSettings, CycleLength):
    """What the workspace is filled with, how many rounds follow, and how each goes."""

    preparation: PreparationSettings = Field(
        default=PreparationSettings(), description="What the workspace is filled with before the first phase."
    )
    initialisation: TrainingConfig = Field(
        default=PROFILES["tiny"].remover,
        description="Training of the initial remover from the base.",
    )
    composites: CycleComposites | None = Field(
        default=None, description="A compositing run whose composites join the pool. None: there is none."
    )


@flow(name="rorem-cycle", flow_run_name="cycle to round {config.rounds}")
@fail_cleanly
def rorem_cycle(config: CycleConfig) -> CycleResult:
    """Prepare, compose, initialise, run the rounds, report; after a kill it goes on where it stood."""
    began = time.monotonic()
    workspace = Workspace.open(config.workspace)
    prepare(workspace, config.preparation, config, config.rounds)
    composed = _compose(config)
    settings = RoundConfig.model_validate(config.model_dump(include=set(RoundSettings.model_fields)))
    outcomes = [base_phase(config, settings, workspace), initial_phase(config, settings, workspace)]
    discriminators: dict[int, DiscriminatorOutcome] = {}
    # Prefect suspends no subflow: where people are waited for, the rounds are part of the cycle's own run.
    play = rorem_round if config.human_review is None else rorem_round.fn
    for number in range(1, config.rounds + 1):
        done: RoundOutcome = play(settings.model_copy(update={"round": number}))
        outcomes += [done.human, done.automation]
        discriminators |= {number: done.discriminator} if done.discriminator else {}
    return _report(config, workspace, outcomes, discriminators, composed, began)


def _compose(config: CycleConfig) -> CompositingResult | None:
    """The compositing run that feeds the pool, where one is asked for and the pool is drawn from."""
    if config.composites is None or not config.rounds or config.acceptance == "none":
        return None
    say("composing: cut-outs with their shadows on other grounds, for the pool")
    # As with the rounds: a cycle that waits for people must have all of its work in its own run.
    play = objectclear_compositing if config.human_review is None else objectclear_compositing.fn
    return play(compositing_config(config.workspace, config.composites, config.preparation, config.seed))


def start_key(config: CycleConfig) -> str:
    """Names the phases before the first round by what decides them: arms that differ in growth share them."""
    decides = {"seed", "preparation", "initialisation", "sampling", "loss", "oracle", "evaluation_source"}
    return derive_key("rorem start", config.model_dump_json(include=decides))


def base_phase(config: CycleConfig, settings: RoundConfig, workspace: Workspace) -> PhaseOutcome:
    """The base as it comes: RORem's first row."""
    run, name, began = start_key(config), "base model", time.monotonic()
    known = finished(workspace, run, name)
    if known is not None:
        return known
    start = begin(workspace, run, name, settings.sampling)
    test = measure_on(settings, workspace, name, start.remover, "test")
    result = phase_result(
        "base", name, test, tested=0, kept=0, total=0, promoted=True,
        reason="where every cycle starts", seconds=time.monotonic() - began,
    )  # fmt: skip
    publish_removals(settings, workspace, name, start.remover)
    return finish(workspace, run, PhaseOutcome(result=result, standing=start, losses=[]))


def initial_phase(config: CycleConfig, settings: RoundConfig, workspace: Workspace) -> PhaseOutcome:
    """Train the initial remover from the base on the captured and pasted pairs."""
    run, name, began = start_key(config), "initialisation", time.monotonic()
    known = finished(workspace, run, name)
    if known is not None:
        return known
    start = begin(workspace, run, name, settings.sampling)
    assert start.version is not None, "the preparation made a version"
    pairs = workspace.ledger().version(start.version).by_split.get("train", 0)
    first = settings.model_copy(update={"retraining": config.initialisation})
    outcome = train_and_compare(
        first, workspace, "initialisation", name, start, start.version, tested=pairs, kept=pairs, began=began
    )
    publish_removals(settings, workspace, name, outcome.standing.remover)
    return finish(workspace, run, outcome)


def clip_results(workspace: Workspace, removers: dict[str, RemoverRef]) -> list[ClipResult]:
    """Telea's fill and the removers on the clip's held-out time block; nothing where there is no clip."""
    refs = workspace.ledger().shards(stage="triplets")
    try:
        triplets = read_triplets(workspace, refs, "test", "clip:")
    except FlowError:
        return []
    models = {"telea": TeleaFill(), **{name: load_remover(workspace, ref) for name, ref in removers.items()}}
    results: list[ClipResult] = []
    for method, model in models.items():
        inside, outside = mask_psnr(model, triplets)
        results.append(
            ClipResult(method=method, triplets=len(triplets), psnr_mask=inside, psnr_background=outside)
        )
    return results


def _report(
    config: CycleConfig,
    workspace: Workspace,
    outcomes: Sequence[PhaseOutcome],
    discriminators: Mapping[int, DiscriminatorOutcome],
    composed: CompositingResult | None,
    began: float,
) -> CycleResult:
    """Gather everything, publish it in Prefect and write ``report.html``."""
    initial, final = outcomes[1].standing, outcomes[-1].standing
    assert final.version is not None, "a cycle has a dataset version"
    version = workspace.ledger().version(final.version)
    measures = [discriminator.measured for discriminator in discriminators.values() if discriminator.measured]
    result = CycleResult(
        phases=[outcome.result for outcome in outcomes],
        discriminators=[measure.result for measure in measures],
        clip=clip_results(workspace, {"initialisation": initial.remover, "final": final.remover}),
        dataset=DatasetSummary(version=version.number, samples=version.samples, shards=version.shards),
        rejects=workspace.ledger().reject_counts(),
        composites=None if composed is None else pooled_composites(workspace, composed, final.version),
        seconds=time.monotonic() - began,
        peak_memory_gb=peak_memory_gb(),
    )
    curves = [measure.curves for measure in measures]
    losses = [thinned(o.result.name, o.losses) for o in outcomes if o.losses]
    losses += [
        thinned(f"discriminator {number}", discriminator.trained.losses)
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


def thinned(name: str, losses: Sequence[float], points: int = 200) -> LossCurve:
    """Means over equal stretches of a training, at most ``points`` of them."""
    stretch = max(1, -(-len(losses) // points))
    starts = range(0, len(losses), stretch)
    means = [sum(losses[s : s + stretch]) / len(losses[s : s + stretch]) for s in starts]
    return LossCurve(name=name, steps=[s + 1 for s in starts], losses=means)


def peak_memory_gb() -> float:
    """Largest resident memory of this process and of its largest child, in GB (10⁹ bytes)."""
    kilobytes = sum(
        resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return kilobytes * 1024 / 1e9


# The demo: the whole cycle at tiny size, from the sample clip, synthetic scenes and composites to the report.


def demo_config(workspace: Path, rounds: int, seed: int) -> CycleConfig:
    """Sizes that two cores finish in ten minutes; all else is the tiny profile's default."""
    return CycleConfig(workspace=workspace, rounds=rounds, seed=seed, composites=CycleComposites())
