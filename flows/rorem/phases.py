"""Steps that phases share: propose over shards, grow, retrain, compare with the champion."""

import time
from collections.abc import Sequence
from typing import Literal

from data_specs.errors import FlowError
from data_specs.keys import Split, derive_key
from data_specs.round import PhaseKind, PhaseResult
from data_specs.shard import FIRST_INDEX, ShardRef
from flows.rorem.config import RoundSettings
from flows.rorem.standing import PhaseOutcome, Standing
from flows.runtime.shards import over_shards
from models.images.mask_variants import MaskVariant
from models.training.loop import TrainingConfig
from tasks.evaluation.evaluate import Evaluation, evaluate_remover
from tasks.registry.champions import promote
from tasks.rorem.grow import GrowWork, grow_shard
from tasks.rorem.propose import ProposeWork, RemoverRef, propose_shard
from tasks.rorem.train_remover import RemoverTraining, retrain
from tasks.storage.dataset.versions import create_version, selection_of
from tasks.storage.workspace import Workspace


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
    return over_shards(propose_shard, workspace, works, settings.workers, f"candidates of {phase}")


def propose_in_turn(
    settings: RoundSettings,
    workspace: Workspace,
    round: int,
    kind: Literal["calibration", "fresh"],
    items: Sequence[str],
    remover: RemoverRef,
    after: int = 0,
) -> list[ShardRef]:
    """One candidate for each item, the variants in turn: what judges are calibrated and measured on.

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
    what = f"{kind} candidates of judge {round}"
    return over_shards(propose_shard, workspace, works, settings.workers, what)


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
    [ref] = over_shards(grow_shard, workspace, [work], None, f"growth of {phase}")
    note = f"{phase}: {len(keys)} accepted candidates"
    return create_version(workspace, [*selection_of(workspace, parent), (ref, None)], parent, note).number


def train_and_compare(
    settings: RoundSettings,
    workspace: Workspace,
    kind: PhaseKind,
    name: str,
    start: Standing,
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
        result=result, standing=Standing(remover=remover, version=version), losses=trained.losses
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
    origin = settings.evaluation_origin
    found = evaluate_remover(workspace, name, remover, refs, split, settings.reviewer.quality, origin)
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
