"""Steps that phases share: propose over shards, grow, retrain, compare with the champion."""

import time
from collections.abc import Sequence
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from data_specs.errors import FlowError
from data_specs.keys import Split, derive_key
from data_specs.model_record import ModelRecord
from data_specs.result import ResultKind
from data_specs.round import EndedPhase, PhaseKind, PhaseResult
from data_specs.shard import Purpose, ShardRef
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
from tasks.storage.workspace import Workspace

# Where a phase starts from: the remover in charge and the dataset version, remembered once it began.


class PhaseStart(BaseModel):
    """A champion and a dataset version."""

    model_config = ConfigDict(frozen=True)

    remover: RemoverRef
    version: int | None


class PhaseOutcome(EndedPhase):
    """What a finished phase leaves in the ledger."""

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
    champion = ledger.champion("remover")
    if champion is None:
        raise FlowError("this workspace has no remover yet; run `cleanplate cycle` first")
    current = ledger.current_version()
    now = PhaseStart(remover=as_remover(champion, sampling), version=current.number if current else None)
    ledger.record_result("phase_start", phase, now, run=run)
    known = ledger.result("phase_start", phase, PhaseStart, run=run)
    assert known is not None, "it was just recorded"
    return known


def finished(workspace: Workspace, run: str, phase: str, kind: ResultKind = "phase") -> PhaseOutcome | None:
    """The phase's outcome if an earlier run completed it."""
    return workspace.ledger().result(kind, phase, PhaseOutcome, run=run)


def finish(workspace: Workspace, run: str, outcome: PhaseOutcome, kind: ResultKind = "phase") -> PhaseOutcome:
    """Record the outcome: the phase's last act."""
    workspace.ledger().record_result(kind, outcome.result.name, outcome, run=run)
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
            after + number,
            phase,
            kind,
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
            after + number,
            f"{kind} {round}",
            kind,
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
    purpose: Purpose,
    variants: tuple[MaskVariant, ...],
    remover: RemoverRef,
) -> ProposeWork:
    pool = {holders[key].name: holders[key] for key in items}
    return ProposeWork(
        round=round,
        index=index,
        phase=phase,
        purpose=purpose,
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
        index=0,
        phase=phase,
        purpose=kind,
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
    round: int | None = None,
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
        reason=reason, seconds=time.monotonic() - began, measured_on=images_words(settings, "test"),
        round=round,
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
    found = evaluate_remover(
        workspace, name, remover, refs, split, settings.oracle.quality, settings.evaluation_source
    )
    figures = {"success_rate": found.success_rate}
    figures |= {"psnr_effect": found.psnr_effect, "psnr_background": found.psnr_background}
    if found.psnr is not None:
        figures["psnr"] = found.psnr
    workspace.ledger().record_measurement(remover.hash, images_words(settings, split), None, figures)
    return found


def images_words(settings: RoundSettings, split: Split) -> str:
    """The images of an evaluation, in words: ``test split, clip:``."""
    return f"{split} split, {settings.evaluation_source or 'all'}"


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
    measured_on: str,
    round: int | None = None,
) -> PhaseResult:
    """One row of the table."""
    return PhaseResult(
        name=name,
        kind=kind,
        round=round,
        tested=tested,
        kept=kept,
        total=total,
        success_rate=test.success_rate,
        success_low=test.success_low,
        success_high=test.success_high,
        psnr_effect=test.psnr_effect,
        psnr_background=test.psnr_background,
        psnr=test.psnr,
        measured_on=measured_on,
        promoted=promoted,
        reason=reason,
        seconds=seconds,
    )


# The phases of a workspace's cycles, as RORem's table 1 has them.


def ended_phases(images: EvaluationSet) -> list[PhaseResult]:
    """The finished phases in order; where several cycles ran in the workspace, the newest of each name.

    Args:
        images: Pinned; a folder of triplets knows of no cycle.
    """
    if not isinstance(images, VersionSet):
        return []
    phases = Workspace(images.workspace).ledger().results("phase", EndedPhase)
    return list({phase.result.name: phase.result for phase in phases}.values())
