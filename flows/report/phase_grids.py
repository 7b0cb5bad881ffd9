"""Sample grids of a phase: what was accepted, what was refused, and what the remover does now."""

from collections.abc import Callable, Sequence
from itertools import islice

from pydantic import BaseModel

from data_specs.arrays import RgbImage
from data_specs.candidate import Candidate
from data_specs.errors import FlowError
from data_specs.shard import ShardRef
from data_specs.triplet import Triplet
from flows.report.artifacts import artifact_key, publish_discriminator, publish_grid
from flows.report.pages import SLOPPY_GRID
from flows.report.sheets import SampleRow, draw_grid
from flows.rorem.discriminator import DiscriminatorOutcome
from flows.rorem.phases import PhaseOutcome, RoundRun, Step
from tasks.evaluation.evaluate import removals_of, stream_triplets
from tasks.registry.removers import RemoverRef, load_remover
from tasks.review.oracle import read_truths
from tasks.rorem.grow import grown_key
from tasks.storage.atomic_files import write_durably
from tasks.storage.shards import ShardReader, decode_candidate
from tasks.storage.workspace import Workspace

_ROWS = 8


class Published(BaseModel):
    """That a step's pages are made; there is nothing more to say."""


def publish_once(workspace: Workspace, run: str, name: str, publish: Callable[[], None]) -> None:
    """Publish what a finished step made, unless an earlier start of the run did so."""
    ledger = workspace.ledger()
    if ledger.results.get("published", name, Published, run=run) is None:
        publish()
        ledger.results.record("published", name, Published(), run=run)


def publish_standing(workspace: Workspace, step: Step, outcome: PhaseOutcome, origin: str) -> None:
    """Once for each step: what the remover that it leaves makes of the test images.

    Args:
        workspace: Where.
        step: Whose.
        outcome: Of the step.
        origin: The test triplets' origin starts so.
    """
    remover = outcome.standing.remover
    publish_once(
        workspace, step.run, step.name, lambda: publish_removals(workspace, step.name, remover, origin)
    )


def publish_phase_once(
    run: RoundRun, outcome: PhaseOutcome, discriminator: DiscriminatorOutcome | None = None
) -> None:
    """Draw a phase's grids, into Prefect and into the workspace's reports.

    Args:
        run: The round.
        outcome: Of the phase.
        discriminator: The one that scored the phase's candidates. None if none did.
    """
    workspace, name = run.workspace, outcome.result.name

    def publish() -> None:
        publish_removals(workspace, name, outcome.standing.remover, run.config.evaluation_source)
        if outcome.candidates is not None:
            rows = _candidate_rows(workspace, outcome.candidates, discriminator)
            keep_grid(workspace, f"{name}: candidates kept and refused", draw_grid(rows))

    publish_once(workspace, run.key, name, publish)


def publish_discriminator_once(run: RoundRun, outcome: DiscriminatorOutcome | None) -> None:
    """The figures and curves of the round's discriminator, into Prefect; nothing if it was not measured."""
    if outcome is None or outcome.measured is None:
        return
    measured = outcome.measured
    publish_once(
        run.workspace,
        run.key,
        f"discriminator {run.config.round}",
        lambda: publish_discriminator(measured.result, measured.curves),
    )


def publish_removals(workspace: Workspace, name: str, remover: RemoverRef, origin: str) -> None:
    """The same test images after every phase, so that the eye can follow them.

    Args:
        workspace: Where.
        name: The phase's.
        remover: Edits the images.
        origin: The test triplets' origin starts so.
    """
    refs = workspace.ledger().shards.all(stage="triplets")
    rows = [
        *_removal_rows(workspace, refs, origin, remover, _ROWS - 2),
        *_removal_rows(workspace, refs, "clip:", remover, 2),
    ]
    keep_grid(workspace, f"{name}: test images", draw_grid(rows))


def grid_path(heading: str) -> str:
    """Where a grid lies in the workspace, as PNG."""
    return f"reports/samples/{artifact_key(heading)}.png"


def read_grids(workspace: Workspace, names: Sequence[str]) -> dict[str, bytes]:
    """The grids of some phases, by heading, in the phases' order; last that of the sloppy masks."""
    kinds = ("test images", "candidates kept and refused")
    headings = [*(f"{name}: {kind}" for name in names for kind in kinds), SLOPPY_GRID]
    paths = {heading: grid_path(heading) for heading in headings}
    return {
        heading: (workspace.root / path).read_bytes()
        for heading, path in paths.items()
        if workspace.store.bring(path)
    }


def keep_grid(workspace: Workspace, heading: str, png: bytes) -> None:
    """Write a grid into the workspace's reports, and show it in Prefect."""
    path = grid_path(heading)
    (workspace.root / path).parent.mkdir(parents=True, exist_ok=True)
    write_durably(workspace.root / path, png)
    workspace.store.share(path)
    publish_grid(heading, png)


def _removal_rows(
    workspace: Workspace, refs: Sequence[ShardRef], origin: str, remover: RemoverRef, count: int
) -> list[SampleRow]:
    try:
        triplets = list(islice(stream_triplets(workspace, refs, "test", origin), count))
    except FlowError:
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
    workspace: Workspace, ref: ShardRef, discriminator: DiscriminatorOutcome | None
) -> list[SampleRow]:
    """Half kept, half refused, from the phase's first shard."""
    with ShardReader(workspace, [ref]) as reader:
        joined = workspace.ledger().shards.holders_of([grown_key(key) for key in reader.keys], "grown")
        kept = {key for key in reader.keys if grown_key(key) in joined}
        taken = [key for key in reader.keys if key in kept][: _ROWS // 2]
        left = [key for key in reader.keys if key not in kept][::7][: _ROWS - len(taken)]
        shown = [decode_candidate(reader.by_key(key)) for key in taken + left]
    truths = read_truths(workspace, {c.item for c in shown})
    scores: dict[str, float] = {}
    if discriminator is not None:
        scorer = discriminator.trained.discriminator.hash
        scores = workspace.ledger().scores.of(scorer, [c.key for c in shown])
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
