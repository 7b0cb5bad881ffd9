"""Steps that phases share: begin, propose over shards, grow, retrain, compare with the champion, record."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from pydantic import BaseModel, ConfigDict

from data_specs.errors import FlowError
from data_specs.keys import Split, derive_key
from data_specs.losses import TrainingLosses
from data_specs.model_record import ModelRecord
from data_specs.result import ResultKind
from data_specs.round import EndedPhase, PhaseKind, PhaseResult
from data_specs.shard import Purpose, ShardRef
from flows.rorem.config import Proposal, Retraining, RoundConfig, SuccessMeasure
from flows.runtime.shards import map_shards, say
from models.rorem.remover import SamplingConfig
from models.training.loop import TrainingConfig
from tasks.evaluation.evaluate import Evaluation, evaluate_remover
from tasks.evaluation.test_set import EvaluationSet, VersionSet
from tasks.execution import WorkersConfig
from tasks.registry.champions import promote
from tasks.registry.removers import RemoverRef
from tasks.rorem.grow import GrowWork, accepted_by_score, candidates_by_item, grow_shard, growth_parts
from tasks.rorem.propose import ProposeWork, propose_shard
from tasks.rorem.score import ScoreWork, score_shard
from tasks.rorem.train_discriminator import DiscriminatorRef
from tasks.rorem.train_remover import RemoverTraining, retrain
from tasks.storage.dataset.versions import create_version, selection_of
from tasks.storage.workspace import Workspace, items_of


@dataclass(frozen=True, slots=True)
class Step:
    """One step of one run, as the ledger names it."""

    run: str
    """The run's key."""
    name: str
    """``initialisation``, ``human 1``, ``night 2026-11-30`` …"""


@dataclass(frozen=True, slots=True)
class Phase(Step):
    """A step that draws pool items: what its draws, shards and review batch are named by."""

    purpose: Purpose
    round: int
    """0 for a night's."""

    @property
    def draw(self) -> str:
        """The name under which its pool items are drawn."""
        return f"{self.run} {self.name}"

    @property
    def batch(self) -> str:
        """``human-1-3f2a9c1b``: a part of the run's key tells the runs of one workspace apart."""
        return f"{self.purpose}-{self.round}-{self.run[:8]}"


@dataclass(frozen=True, slots=True)
class RoundRun:
    """One round of one run: its settings, its workspace, and the key that its records carry."""

    config: RoundConfig
    workspace: Workspace
    key: str

    @classmethod
    def open(cls, config: RoundConfig) -> Self:
        """Open the round's workspace."""
        return cls(config, Workspace.open(config.workspace), config.identity.key)

    def phase(self, purpose: Purpose) -> Phase:
        """The round's phase of this purpose."""
        number = self.config.round
        return Phase(run=self.key, name=f"{purpose} {number}", purpose=purpose, round=number)


class PhaseStart(BaseModel):
    """A champion and a dataset version: what a phase starts from, and what it leaves."""

    model_config = ConfigDict(frozen=True)

    remover: RemoverRef
    version: int | None


class Accepted(NamedTuple):
    """What a phase asked about, and what of it shall join the dataset."""

    items: Sequence[str] = ()
    """Pool items whose candidates got a decision."""
    candidates: Sequence[ShardRef] = ()
    keys: Sequence[str] = ()
    """The candidates that join, at most one of each item."""
    nothing_because: str = ""
    """Why nothing joins, where a decision is missing."""


class Growth(NamedTuple):
    """What joined the dataset in a step."""

    tested: int
    """Items that got a decision."""
    kept: int
    """Of these, the items that joined."""
    candidates: Sequence[ShardRef] = ()
    shards: Sequence[ShardRef] = ()
    """What joined. Empty if nothing of the pool did."""


class Retrained(NamedTuple):
    """The remover and the version after a retraining, and how the remover was chosen."""

    standing: PhaseStart
    promoted: bool
    """True if the challenger became the champion."""
    reason: str
    trained_on: int
    """Triplets in the training set."""
    test: Evaluation
    """Of the remover in charge, on the test split."""
    measured_on: str
    """The test images in words."""
    losses: TrainingLosses


class PhaseOutcome(EndedPhase):
    """What a finished phase leaves in the ledger."""

    standing: PhaseStart
    losses: TrainingLosses
    candidates: ShardRef | None = None
    """The first shard of its candidates. None if it proposed none."""
    grown: ShardRef | None = None
    """The first shard of what it accepted. None if it accepted nothing."""


def as_remover(entry: ModelRecord, sampling: SamplingConfig) -> RemoverRef:
    """A recorded remover as tasks name it."""
    return RemoverRef(hash=entry.hash, folder=entry.path, sampling=sampling)


def begin(workspace: Workspace, step: Step, sampling: SamplingConfig) -> PhaseStart:
    """Where the step starts. Asked again after a kill it gives the same answer, whatever came since.

    Raises:
        FlowError: If the workspace has no remover yet.
    """
    ledger = workspace.ledger()
    champion = ledger.models.champion("remover")
    if champion is None:
        raise FlowError("this workspace has no remover yet; run `cleanplate cycle` first")
    current = ledger.versions.current()
    now = PhaseStart(remover=as_remover(champion, sampling), version=current.number if current else None)
    ledger.results.record("phase_start", step.name, now, run=step.run)
    start = ledger.results.get("phase_start", step.name, PhaseStart, run=step.run)
    assert start is not None, "it was just recorded"
    return start


def finished(workspace: Workspace, step: Step, kind: ResultKind = "phase") -> PhaseOutcome | None:
    """The step's outcome if an earlier start completed it."""
    return workspace.ledger().results.get(kind, step.name, PhaseOutcome, run=step.run)


def finish(
    workspace: Workspace,
    step: Step,
    kind: PhaseKind,
    retrained: Retrained,
    growth: Growth,
    began: float,
    recorded_as: ResultKind = "phase",
) -> PhaseOutcome:
    """Record the outcome: the step's last act.

    Args:
        workspace: Where.
        step: Whose.
        kind: The row's kind in the table.
        retrained: What the step's training came to.
        growth: What the step asked about, and what joined.
        began: ``time.monotonic()`` at the step's begin.
        recorded_as: The kind of the ledger's result.
    """
    test = retrained.test
    result = PhaseResult(
        name=step.name,
        kind=kind,
        round=step.round if isinstance(step, Phase) else None,
        tested=growth.tested,
        kept=growth.kept,
        total=retrained.trained_on,
        success_rate=test.success_rate,
        success_low=test.success_low,
        success_high=test.success_high,
        psnr_effect=test.psnr_effect,
        psnr_background=test.psnr_background,
        psnr=test.psnr,
        measured_on=retrained.measured_on,
        promoted=retrained.promoted,
        reason=retrained.reason,
        seconds=time.monotonic() - began,
    )
    outcome = PhaseOutcome(
        result=result,
        standing=retrained.standing,
        losses=retrained.losses,
        candidates=growth.candidates[0] if growth.candidates else None,
        grown=growth.shards[0] if growth.shards else None,
    )
    workspace.ledger().results.record(recorded_as, step.name, outcome, run=step.run)
    verdict = "promoted" if result.promoted else "not promoted"
    say(
        f"{result.name}: {result.kept} kept of {result.tested}, {result.total} in the training set; "
        f"success {result.success_rate:.1%} ({verdict}: {result.reason}), {result.seconds:.0f} s"
    )
    return outcome


def propose_over_shards(
    workspace: Workspace,
    phase: Phase,
    proposal: Proposal,
    remover: RemoverRef,
    items: Sequence[str],
    after: int = 0,
    holders: Sequence[ShardRef] = (),
) -> list[ShardRef]:
    """Candidates of every variant for the items, a task run for each shard of them.

    Args:
        workspace: Where.
        phase: Whose.
        proposal: Variants, items a shard, and who does the work.
        remover: Makes the candidates.
        items: Keys of pool items, or of training pairs.
        after: Shards the phase has already, when it is extended.
        holders: The shards of training pairs. Empty for pool items, whose shards the ledger knows.
    """
    held = {} if holders else workspace.ledger().shards.holders_of(list(items), "pool")
    starts = range(0, len(items), proposal.shard_items)
    parts = [items[start : start + proposal.shard_items] for start in starts]
    works = [
        ProposeWork(
            round=phase.round,
            index=after + number,
            phase=phase.name,
            purpose=phase.purpose,
            pool=tuple(holders) or _distinct(held[key] for key in part),
            items=tuple(part),
            variants=proposal.variants,
            remover=remover,
            image_format=proposal.image_format,
        )
        for number, part in enumerate(parts)
    ]
    return map_shards(propose_shard, workspace, works, proposal.workers, f"candidates of {phase.name}")


def scores_of(
    workspace: Workspace,
    phase: Phase,
    refs: Sequence[ShardRef],
    discriminator: DiscriminatorRef,
    workers: WorkersConfig,
) -> dict[str, float]:
    """The discriminator's scores of all candidates of some shards, by candidate."""
    works = [ScoreWork(ref=ref, discriminator=discriminator) for ref in refs]
    map_shards(score_shard, workspace, works, workers, f"scores of {phase.name}")
    return workspace.ledger().scores.of(discriminator.hash, items_of(workspace, refs))


def accept_by_score(
    workspace: Workspace,
    phase: Phase,
    refs: list[ShardRef],
    discriminator: DiscriminatorRef,
    threshold: float,
    workers: WorkersConfig,
) -> list[str]:
    """Keys of the best candidate of each item, if the discriminator scores it above the threshold.

    Args:
        workspace: Where.
        phase: Whose candidates they are.
        refs: Shards of candidates.
        discriminator: Scores them.
        threshold: 0..1 (RORem: 0.9).
        workers: Who does the work.
    """
    scores = scores_of(workspace, phase, refs, discriminator, workers)
    return accepted_by_score(candidates_by_item(workspace, refs), scores, threshold)


def _distinct(refs: Iterable[ShardRef]) -> tuple[ShardRef, ...]:
    named = {ref.name: ref for ref in refs}
    return tuple(named[name] for name in sorted(named))


def grow_version(workspace: Workspace, phase: Phase, accepted: Accepted, parent: int) -> tuple[int, Growth]:
    """The dataset version with what was accepted, and what joined; the parent where nothing was accepted."""
    tested, kept = len(accepted.items), len(accepted.keys)
    if not accepted.keys:
        return parent, Growth(tested, kept, accepted.candidates)
    works = [
        GrowWork(
            round=phase.round,
            index=number,
            phase=phase.name,
            purpose=phase.purpose,
            candidates=candidates,
            accepted=keys,
        )
        for number, (candidates, keys) in enumerate(
            growth_parts(workspace, accepted.candidates, accepted.keys)
        )
    ]
    refs = map_shards(grow_shard, workspace, works, None, f"growth of {phase.name}")
    note = f"{phase.name}: {kept} accepted candidates"
    selection = [*selection_of(workspace, parent), *((ref, None) for ref in refs)]
    version = create_version(workspace, selection, parent, note)
    return version.number, Growth(tested, kept, accepted.candidates, refs)


def train_and_compare(
    workspace: Workspace,
    name: str,
    start: PhaseStart,
    version: int,
    retraining: Retraining,
    success: SuccessMeasure,
) -> Retrained:
    """Retrain on the version; the challenger replaces the champion only if it is better on validation."""
    manifest = workspace.ledger().versions.numbered(version)
    trained = retrain(
        workspace,
        RemoverTraining(
            name=name,
            parent=start.remover,
            version=version,
            version_sha256=manifest.sha256,
            training=seeded(retraining.training, retraining.seed, name),
            loss=retraining.loss,
            sampling=retraining.sampling,
        ),
        retraining.distributed,
    )
    challenger = measure_on(workspace, name, trained.remover, "validation", success)
    champion = measure_on(workspace, f"before {name}", start.remover, "validation", success)
    better, reason = compare(challenger, champion)
    if better:
        promote(workspace, "remover", trained.remover.hash, f"{name}: {reason}")
    remover = trained.remover if better else start.remover
    return Retrained(
        standing=PhaseStart(remover=remover, version=version),
        promoted=better,
        reason=reason,
        trained_on=manifest.by_split.get("train", 0),
        test=measure_on(workspace, name, remover, "test", success),
        measured_on=success.images("test"),
        losses=trained.losses,
    )


def seeded(training: TrainingConfig, seed: int, name: str) -> TrainingConfig:
    """The training with a seed of its own, so that no two phases draw the same noise and order."""
    return training.model_copy(update={"seed": int(derive_key("training", seed, name)[:8], 16)})


def measure_on(
    workspace: Workspace, name: str, remover: RemoverRef, split: Split, success: SuccessMeasure
) -> Evaluation:
    """The remover on a split's triplets of the origin that success is measured on.

    Raises:
        FlowError: If the workspace has no triplets.
    """
    refs = tuple(workspace.ledger().shards.all(stage="triplets"))
    if not refs:
        raise FlowError("the workspace has no triplets to evaluate on; run `cleanplate ingest` first")
    measured = evaluate_remover(workspace, name, remover, refs, split, success.quality, success.origin)
    figures = {"success_rate": measured.success_rate}
    figures |= {"psnr_effect": measured.psnr_effect, "psnr_background": measured.psnr_background}
    if measured.psnr is not None:
        figures["psnr"] = measured.psnr
    workspace.ledger().models.record_measurement(remover.hash, success.images(split), None, figures)
    return measured


def compare(challenger: Evaluation, champion: Evaluation) -> tuple[bool, str]:
    """Whether the challenger takes over, and why, in one sentence."""
    rates = f"{challenger.success_rate:.1%} against {champion.success_rate:.1%}"
    numbers = f"{rates} on {champion.tested} validation pairs"
    if challenger.successes > champion.successes:
        return True, f"succeeds more often: {numbers}"
    if challenger.successes == champion.successes and challenger.psnr_effect > champion.psnr_effect:
        return True, f"succeeds as often, and is closer to the truth: {numbers}"
    return False, f"succeeds no more often: {numbers}"


# The phases of a workspace's cycles, as RORem's table 1 has them.


def ended_phases(images: EvaluationSet) -> list[PhaseResult]:
    """The finished phases in order; where several cycles ran in the workspace, the newest of each name.

    Args:
        images: Pinned; a folder of triplets knows of no cycle.
    """
    if not isinstance(images, VersionSet):
        return []
    phases = Workspace(images.workspace).ledger().results.all("phase", EndedPhase)
    return list({phase.result.name: phase.result for phase in phases}.values())
