"""Nightly candidates: the champion edits unused pool items, the newest discriminator keeps the good ones."""

from datetime import date

from prefect import flow
from prefect.artifacts import create_table_artifact
from pydantic import BaseModel, ConfigDict, Field

from data_specs.errors import FlowError
from flows.nightly.nights import NightSettings, close_night, done_before, night_of, night_run_name
from flows.rorem.config import Proposal, ShardItems, Workers
from flows.rorem.phases import Phase, PhaseStart, accept_by_score, begin, grow_version, propose_over_shards
from flows.rorem.retrain import RetrainTrigger, ask_for_retraining
from flows.runtime.runs import fail_cleanly
from flows.runtime.shards import say
from models.images.mask_variants import MaskVariant
from models.profiles import PROFILES
from models.rorem.remover import SamplingConfig
from tasks.execution import INLINE
from tasks.rorem.sample_pool import choose_items, unused_items
from tasks.rorem.train_discriminator import DiscriminatorRef, newest_discriminator
from tasks.storage.workspace import Workspace

WORK = "nightly candidates"


class NightlyCandidatesConfig(NightSettings):
    """Which night, how many items are edited, what joins, and when a retraining is asked for."""

    seed: int = Field(default=0, ge=0, description="Another seed, other items.")
    items: int = Field(
        default=500, ge=1, le=1_000_000, description="Unused pool items to edit; fewer where there are fewer."
    )
    variants: tuple[MaskVariant, ...] = Field(
        default=("tight", "dilated", "left", "right"),
        min_length=1,
        description="Mask variants: one candidate each for every item.",
    )
    score_threshold: float = Field(
        default=0.9,
        ge=0,
        le=1,
        description="Of each item the best candidate scored above this joins (RORem: 0.9).",
    )
    sampling: SamplingConfig = Field(
        default=PROFILES["tiny"].sampling, description="How removals are sampled."
    )
    shard_items: ShardItems = 150
    workers: Workers = INLINE
    retrain: RetrainTrigger = Field(
        default=RetrainTrigger(), description="When enough has joined to train the remover again."
    )


class CandidatesResult(BaseModel):
    """What a night's candidates came to."""

    model_config = ConfigDict(frozen=True)

    night: date
    items: int
    candidates: int
    accepted: int
    """Items of which a candidate joined the dataset."""
    discriminator: str | None
    """Hash of the discriminator; None where none is trained yet, and the candidates wait for people."""
    version: int
    """The dataset version after the night."""


@flow(name="nightly-candidates", flow_run_name=night_run_name("candidates", NightlyCandidatesConfig))
@fail_cleanly
def nightly_candidates(config: NightlyCandidatesConfig) -> CandidatesResult:
    """Choose, propose, score, grow; then ask for a retraining where enough has joined since the last.

    Started again for a night that is done, it only asks again; after a kill it goes on where it stood.

    Raises:
        FlowError: If the workspace has no remover or no dataset version yet.
    """
    workspace, night = Workspace.open(config.workspace), night_of(config)
    known = done_before(workspace, WORK, night)
    result = _edited(config, workspace, night) if known is None else CandidatesResult.model_validate(known)
    ask_for_retraining(workspace, config.retrain)
    return result


def _edited(config: NightlyCandidatesConfig, workspace: Workspace, night: date) -> CandidatesResult:
    """The night's work; its record in the ledger comes last."""
    phase = Phase(WORK, "night", 0, f"night {night}")
    start = begin(workspace, phase, config.sampling)
    if start.version is None:
        raise FlowError("this workspace has no dataset version yet; run `cleanplate ingest` first")
    wanted = min(config.items, len(unused_items(workspace)))
    items = choose_items(workspace, f"{WORK} {night}", wanted, config.seed)
    proposal = Proposal(config.variants, config.shard_items, config.workers)
    refs = propose_over_shards(workspace, phase, proposal, start.remover, items)
    discriminator = _discriminator(workspace, phase.name)
    accepted: list[str] = []
    if discriminator is not None and refs:
        accepted = accept_by_score(
            workspace, phase, refs, discriminator, config.score_threshold, config.workers
        )
    version, _ = grow_version(workspace, phase, refs, accepted, _parent(workspace, phase.name, start))
    result = CandidatesResult(
        night=night,
        items=len(items),
        candidates=sum(ref.samples for ref in refs),
        accepted=len(accepted),
        discriminator=None if discriminator is None else discriminator.hash,
        version=version,
    )
    _publish(result)
    close_night(config, workspace, WORK, night, result)
    return result


def _discriminator(workspace: Workspace, phase: str) -> DiscriminatorRef | None:
    """The newest discriminator when the night's candidates were first scored; the same one after a kill."""
    name, ledger = f"{phase}: judge", workspace.ledger()
    newest = newest_discriminator(workspace)
    chosen = None if newest is None else newest.model_dump(mode="json")
    ledger.record_phase(WORK, name, {"discriminator": chosen})
    known = ledger.phase(WORK, name)
    assert known is not None, "it was just recorded"
    return None if known["discriminator"] is None else DiscriminatorRef.model_validate(known["discriminator"])


def _parent(workspace: Workspace, phase: str, start: PhaseStart) -> int:
    """The version to grow: the current one, which a round may have grown since the night began."""
    name, ledger = f"{phase}: parent", workspace.ledger()
    current = ledger.current_version()
    ledger.record_phase(WORK, name, {"version": start.version if current is None else current.number})
    known = ledger.phase(WORK, name)
    assert known is not None, "it was just recorded"
    return int(known["version"])


def _publish(result: CandidatesResult) -> None:
    """The night's table and its sentence."""
    scored = (
        "no discriminator is trained yet, so they wait for people"
        if result.discriminator is None
        else "scored"
    )
    sentence = (
        f"night {result.night}: {result.candidates} candidates of {result.items} items, {scored}; "
        f"{result.accepted} joined, dataset version {result.version}"
    )
    rows = [{"what": name, "count": getattr(result, name)} for name in ("items", "candidates", "accepted")]
    create_table_artifact(rows, key="nightly-candidates", description=sentence)
    say(sentence)
