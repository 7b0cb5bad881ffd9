"""Sample grids of a phase: what was accepted, what was refused, and what the remover does now."""

from collections.abc import Sequence

from data_specs.arrays import RgbImage
from data_specs.candidate import Candidate
from data_specs.shard import ShardRef
from data_specs.triplet import Triplet
from flows.report.artifacts import artifact_key, publish_grid
from flows.report.sheets import SampleRow, draw_grid
from flows.rorem.config import RoundSettings
from flows.rorem.phases import PhaseOutcome
from tasks.evaluation.evaluate import read_triplets, removals_of
from tasks.registry.removers import RemoverRef, load_remover
from tasks.review.oracle import read_candidates, read_truths
from tasks.rorem.train_discriminator import DiscriminatorRef
from tasks.storage.atomic_files import write_durably
from tasks.storage.pool import items_of
from tasks.storage.workspace import Workspace

_ROWS = 8


def publish_phase_samples(
    settings: RoundSettings,
    workspace: Workspace,
    outcome: PhaseOutcome,
    refs: Sequence[ShardRef],
    kept: Sequence[str],
    discriminator: DiscriminatorRef | None,
) -> None:
    """Draw the phase's grids, into Prefect and into the workspace's reports."""
    name = outcome.result.name
    publish_removals(settings, workspace, name, outcome.standing.remover)
    if refs:
        rows = _candidate_rows(workspace, refs[0], set(kept), discriminator)
        _publish(workspace, f"{name}: candidates kept and refused", draw_grid(rows))


def publish_removals(settings: RoundSettings, workspace: Workspace, name: str, remover: RemoverRef) -> None:
    """The same test images after every phase, so that the eye can follow them."""
    refs = workspace.ledger().shards(stage="triplets")
    rows = [
        *_removal_rows(workspace, refs, settings.evaluation_source, remover, _ROWS - 2),
        *_removal_rows(workspace, refs, "clip:", remover, 2),
    ]
    _publish(workspace, f"{name}: test images", draw_grid(rows))


def grid_path(heading: str) -> str:
    """Where a grid lies in the workspace, as PNG."""
    return f"reports/samples/{artifact_key(heading)}.png"


def read_grids(workspace: Workspace, names: Sequence[str]) -> dict[str, bytes]:
    """The grids of some phases, by heading, in the phases' order."""
    grids: dict[str, bytes] = {}
    for name in names:
        for heading in (f"{name}: test images", f"{name}: candidates kept and refused"):
            path = grid_path(heading)
            if workspace.store.bring(path):
                grids[heading] = (workspace.root / path).read_bytes()
    return grids


def _publish(workspace: Workspace, heading: str, png: bytes) -> None:
    path = grid_path(heading)
    (workspace.root / path).parent.mkdir(parents=True, exist_ok=True)
    write_durably(workspace.root / path, png)
    workspace.store.share(path)
    publish_grid(heading, png)


def _removal_rows(
    workspace: Workspace, refs: Sequence[ShardRef], origin: str, remover: RemoverRef, count: int
) -> list[SampleRow]:
    triplets = [t for t in read_triplets(workspace, refs, "test") if t.origin.startswith(origin)][:count]
    if not triplets:
        return []
    removals = removals_of(load_remover(workspace, remover), triplets)
    return [_row(t, removal) for t, removal in zip(triplets, removals, strict=True)]


def _row(triplet: Triplet, removal: RgbImage) -> SampleRow:
    return SampleRow(
        source=triplet.source,
        mask=triplet.mask,
        removal=removal,
        ground_truth=triplet.ground_truth,
        score=None,
        caption=triplet.origin,
    )


def _candidate_rows(
    workspace: Workspace, ref: ShardRef, kept: set[str], discriminator: DiscriminatorRef | None
) -> list[SampleRow]:
    """Half kept, half refused, from the phase's first shard."""
    candidates = read_candidates(workspace, ref)
    taken = [c for c in candidates if c.key in kept][: _ROWS // 2]
    left = [c for c in candidates if c.key not in kept][::7][: _ROWS - len(taken)]
    shown = taken + left
    truth_shards = workspace.ledger().shards(stage="truth")
    items_with_truth = {c.item for c in shown}.intersection(items_of(workspace, truth_shards))
    truths = read_truths(workspace, truth_shards, items_with_truth)
    scores = workspace.ledger().scores(discriminator.hash, [c.key for c in shown]) if discriminator else {}
    return [_candidate_row(c, truths, scores, c.key in kept) for c in shown]


def _candidate_row(
    candidate: Candidate, truths: dict[str, Triplet], scores: dict[str, float], kept: bool
) -> SampleRow:
    truth = truths.get(candidate.item)
    return SampleRow(
        source=candidate.source,
        mask=candidate.mask,
        removal=candidate.removal,
        ground_truth=truth.ground_truth if truth else None,
        score=scores.get(candidate.key),
        caption=f"{'kept' if kept else 'refused'}, {candidate.variant}",
    )
