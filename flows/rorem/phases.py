"""Steps that phases share: propose over shards, grow, retrain, compare with the champion."""

import time
from collections.abc import Sequence
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from data_specs.errors import FlowError
from data_specs.keys import Split, derive_key
from data_specs.model_record import ModelRecord
from data_specs.round import PhaseKind, PhaseResult, StepMeasures
from data_specs.shard import FIRST_INDEX, ShardRef
from flows.rorem.config import RoundSettings
from flows.runtime.shards import map_shards, say
from models.images.mask_variants import MaskVariant
from models.rorem.remover import SamplingConfig
from models.training.loop import TrainingConfig
from tasks.evaluation.evaluate import Evaluation, evaluate_remover
from tasks.evaluation.test_set import EvaluationSet, VersionSet
from tasks.registry.champions import promote
from tasks.registry.removers import RemoverRef
from tasks.rorem.grow import GrowWork, grow_shard
from tasks.rorem.propose import ProposeWork, propose_shard
from tasks.rorem.train_remover import RemoverTraining, retrain
from tasks.storage.dataset.versions import create_version, selection_of
from tasks.storage.ledger import Ledger
from tasks.storage.workspace import Workspace

# Where a phase starts from: the remover in charge and the dataset version, remembered once it began.


class PhaseStart(BaseModel):
    """A champion and a dataset version."""

    model_config = ConfigDict(frozen=True)

    remover: RemoverRef
    version: int | None


class PhaseOutcome(BaseModel):
    """What a finished phase leaves in the ledger."""

    model_config = ConfigDict(frozen=True)

    result: PhaseResult
    standing: PhaseStart
    losses: list[float]

    def because(self, reason: str) -> Self:
        """The same outcome, its reason opened by why nothing grew."""
        result = self.result.model_copy(update={"reason": f"{reason}; {self.result.reason}"})
        return self.model_copy(update={"result": result})


def as_remover(entry: ModelRecord, sampling: SamplingConfig) -> RemoverRef:
    """A recorded remover as tasks name it."""
    return RemoverRef(hash=entry.hash, folder=entry.path, sampling=sampling)


def begin(workspace: Workspace, run: str, phase: str, sampling: SamplingConfig) -> PhaseStart:
    """Where the phase starts. Asked again after a kill it gives the same answer, whatever came since.

    Raises:
        FlowError: If the workspace has no remover yet.
    """
    ledger = workspace.ledger()
    name = f"{phase}: start"
    champion = ledger.champion("remover")
    if champion is None:
        raise FlowError("this workspace has no remover yet; run `cleanplate cycle` first")
    current = ledger.current_version()
    now = PhaseStart(remover=as_remover(champion, sampling), version=current.number if current else None)
    ledger.record_phase(run, name, now.model_dump(mode="json"))
    return PhaseStart.model_validate(ledger.phase(run, name))


def finished(workspace: Workspace, run: str, phase: str) -> PhaseOutcome | None:
    """The phase's outcome if an earlier run completed it."""
    known = workspace.ledger().phase(run, phase)
    return None if known is None else PhaseOutcome.model_validate(known)


def finish(workspace: Workspace, run: str, outcome: PhaseOutcome) -> PhaseOutcome:
    """Record the outcome: the phase's last act."""
    workspace.ledger().record_phase(run, outcome.result.name, outcome.model_dump(mode="json"))
    result = outcome.result
    verdict = "promoted" if result.promoted else "not promoted"
    say(
        f"{result.name}: {result.kept} kept of {result.tested}, {result.total} in the training set; "
        f"success {result.success_rate:.1%} ({verdict}: {result.reason}), {result.seconds:.0f} s"
    )
    return outcome


def propose_over_shards(
    settings: RoundSettings,
    workspace: Workspace,
    round: int,
    kind: Literal["human", "automation", "night"],
    items: Sequence[str],
    remover: RemoverRef,
    after: int = 0,
    phase: str | None = None,
) -> list[ShardRef]:
    """Candidates of every variant for the items, a task run for each shard of them.

    ``after``: Shards the phase has already, when it is extended. ``phase``: Its name; None: kind and round.
    """
    phase = phase or f"{kind} {round}"
    starts = range(0, len(items), settings.shard_items)
    holders = workspace.ledger().holders_of(items, "pool")
    works = [
        _propose_work(
            holders,
            items[start : start + settings.shard_items],
            round,
            FIRST_INDEX[kind] + after + number,
            phase,
            settings.variants,
            remover,
        )
        for number, start in enumerate(starts)
    ]
    return map_shards(propose_shard, workspace, works, settings.workers, f"candidates of {phase}")


def propose_in_turn(
    settings: RoundSettings,
    workspace: Workspace,
    round: int,
    kind: Literal["calibration", "fresh"],
    items: Sequence[str],
    remover: RemoverRef,
    after: int = 0,
) -> list[ShardRef]:
    """One candidate for each item, the variants in turn: what discriminators are calibrated and measured on.

    ``after``: Shards there are already, when people are asked about more.
    """
    kinds = len(settings.variants)
    holders = workspace.ledger().holders_of(items, "pool")
    works = [
        _propose_work(
            holders,
            items[number::kinds],
            round,
            FIRST_INDEX[kind] + after + number,
            f"{kind} {round}",
            (variant,),
            remover,
        )
        for number, variant in enumerate(settings.variants)
        if items[number::kinds]
    ]
    what = f"{kind} candidates of discriminator {round}"
    return map_shards(propose_shard, workspace, works, settings.workers, what)


def _propose_work(
    holders: dict[str, ShardRef],
    items: Sequence[str],
    round: int,
    index: int,
    phase: str,
    variants: tuple[MaskVariant, ...],
    remover: RemoverRef,
) -> ProposeWork:
    pool = {holders[key].name: holders[key] for key in items}
    return ProposeWork(
        round=round,
        index=index,
        phase=phase,
        pool=tuple(pool[name] for name in sorted(pool)),
        items=tuple(items),
        variants=variants,
        remover=remover,
    )


def grow_version(
    workspace: Workspace,
    round: int,
    kind: Literal["human", "automation", "night"],
    candidates: Sequence[ShardRef],
    keys: Sequence[str],
    parent: int,
    phase: str | None = None,
) -> int:
    """The dataset version with the accepted candidates, or the parent where none was accepted.

    ``phase``: Its name; None: kind and round.
    """
    if not keys:
        return parent
    phase = phase or f"{kind} {round}"
    work = GrowWork(
        round=round,
        index=FIRST_INDEX[kind],
        phase=phase,
        candidates=tuple(candidates),
        accepted=tuple(keys),
    )
    [ref] = map_shards(grow_shard, workspace, [work], None, f"growth of {phase}")
    note = f"{phase}: {len(keys)} accepted candidates"
    return create_version(workspace, [*selection_of(workspace, parent), (ref, None)], parent, note).number


def train_and_compare(
    settings: RoundSettings,
    workspace: Workspace,
    kind: PhaseKind,
    name: str,
    start: PhaseStart,
    version: int,
    tested: int,
    kept: int,
    began: float,
) -> PhaseOutcome:
    """Retrain on the version; the challenger replaces the champion only if it is better on validation."""
    training = settings.retraining
    manifest = workspace.ledger().version(version)
    trained = retrain(
        workspace,
        RemoverTraining(
            name=name,
            parent=start.remover,
            version=version,
            version_sha256=manifest.sha256,
            training=seeded(training, settings.seed, name),
            loss=settings.loss,
            sampling=settings.sampling,
        ),
    )
    challenger = measure_on(settings, workspace, name, trained.remover, "validation")
    champion = measure_on(settings, workspace, f"before {name}", start.remover, "validation")
    better, reason = compare(challenger, champion)
    if better:
        promote(workspace, "remover", trained.remover.hash, f"{name}: {reason}")
    remover = trained.remover if better else start.remover
    test = measure_on(settings, workspace, name, remover, "test")
    result = phase_result(
        kind, name, test, tested=tested, kept=kept, total=manifest.by_split.get("train", 0), promoted=better,
        reason=reason, seconds=time.monotonic() - began,
    )  # fmt: skip
    return PhaseOutcome(
        result=result, standing=PhaseStart(remover=remover, version=version), losses=trained.losses
    )


def seeded(training: TrainingConfig, seed: int, name: str) -> TrainingConfig:
    """The training with a seed of its own, so that no two phases draw the same noise and order."""
    return training.model_copy(update={"seed": int(derive_key("training", seed, name)[:8], 16)})


def measure_on(
    settings: RoundSettings, workspace: Workspace, name: str, remover: RemoverRef, split: Split
) -> Evaluation:
    """The remover on a split's triplets of the origin that success is measured on."""
    refs = tuple(workspace.ledger().shards(stage="triplets"))
    if not refs:
        raise FlowError("the workspace has no triplets to evaluate on; run `cleanplate ingest` first")
    origin = settings.evaluation_source
    found = evaluate_remover(workspace, name, remover, refs, split, settings.oracle.quality, origin)
    figures = {"success_rate": found.success_rate}
    figures |= {"psnr_effect": found.psnr_effect, "psnr_background": found.psnr_background}
    if found.psnr is not None:
        figures["psnr"] = found.psnr
    workspace.ledger().record_measurement(remover.hash, f"{split} split, {origin or 'all'}", None, figures)
    return found


def compare(challenger: Evaluation, champion: Evaluation) -> tuple[bool, str]:
    """Whether the challenger takes over, and why, in one sentence."""
    rates = f"{challenger.success_rate:.1%} against {champion.success_rate:.1%}"
    numbers = f"{rates} on {champion.tested} validation pairs"
    if challenger.successes > champion.successes:
        return True, f"succeeds more often: {numbers}"
    if challenger.successes == champion.successes and challenger.psnr_effect > champion.psnr_effect:
        return True, f"succeeds as often, and is closer to the truth: {numbers}"
    return False, f"succeeds no more often: {numbers}"


def phase_result(
    kind: PhaseKind,
    name: str,
    test: Evaluation,
    *,
    tested: int,
    kept: int,
    total: int,
    promoted: bool,
    reason: str,
    seconds: float,
) -> PhaseResult:
    """One row of the table."""
    return PhaseResult(
        name=name,
        kind=kind,
        tested=tested,
        kept=kept,
        total=total,
        success_rate=test.success_rate,
        success_low=test.success_low,
        success_high=test.success_high,
        psnr_effect=test.psnr_effect,
        psnr_background=test.psnr_background,
        promoted=promoted,
        reason=reason,
        seconds=seconds,
    )


# The steps of a workspace's cycles as RORem's table 1 has them, with the PSNR that was measured beside.

_STEPS = ("base model", "initialisation", "human %", "automation %")


def step_measures(images: EvaluationSet) -> StepMeasures:
    """The finished steps; where several cycles ran in the workspace, the newest of each name.

    Args:
        images: Pinned; a folder of triplets knows of no cycle.
    """
    if not isinstance(images, VersionSet):
        return StepMeasures([], {}, "")
    ledger = Workspace(images.workspace).ledger()
    outcomes = [PhaseOutcome.model_validate(each) for each in ledger.phases_like(*_STEPS) if "result" in each]
    steps = {outcome.result.name: outcome for outcome in outcomes}
    psnr: dict[str, float] = {}
    places: list[str] = []
    for name, step in steps.items():
        for measured_on, number in _psnr_of(ledger, step):
            psnr[name] = number
            places.append(measured_on)
    return StepMeasures([step.result for step in steps.values()], psnr, ", ".join(dict.fromkeys(places)))


def _psnr_of(ledger: Ledger, step: PhaseOutcome) -> list[tuple[str, float]]:
    """Where the step's own measurement was made, and its PSNR: it is the one with the step's success rate."""
    return [
        (each.measured_on, each.values["psnr"])
        for each in ledger.measurements(step.standing.remover.hash)
        if each.measured_on.startswith("test split")
        and each.values.get("success_rate") == step.result.success_rate
        and "psnr" in each.values
    ][-1:]
