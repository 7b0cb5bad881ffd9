"""Nightly candidates: the champion edits unused pool items, the newest discriminator keeps the good ones."""

from datetime import date
from typing import Annotated

from prefect import flow
from prefect.artifacts import create_table_artifact
from pydantic import BaseModel, ConfigDict, Field

from data_specs.errors import FlowError
from flows.nightly.nights import NightSettings, close_night, done_before, night_of, night_run_name
from flows.rorem.config import IMAGE_FORMAT, PhaseImageFormat, Proposal, ShardItems, Workers
from flows.rorem.phases import (
    Accepted,
    Phase,
    PhaseStart,
    accept_by_score,
    begin,
    grow_version,
    propose_over_shards,
)
from flows.rorem.retrain import RetrainTrigger, ask_for_retraining
from flows.runtime.runs import fail_cleanly
from flows.runtime.shards import say
from models.images.mask_variants import MaskVariant
from models.profiles import FromProfile, Profiled, from_profile
from models.rorem.remover import SamplingConfig
from tasks.execution import INLINE
from tasks.rorem.sample_pool import choose_items, unused_count
from tasks.rorem.train_discriminator import DiscriminatorRef, newest_discriminator
from tasks.storage.workspace import Workspace

WORK = "nightly candidates"


class NightlyCandidatesConfig(NightSettings, Profiled):
    """Which night, how many items are edited, what joins, and when a retraining is asked for."""

    seed: int = Field(default=0, ge=0, description="Seed of the drawn items. Another seed draws other items.")
    items: int = Field(
        default=500, ge=1, le=1_000_000, description="Maximum number of unused pool items to edit."
    )
    variants: tuple[MaskVariant, ...] = Field(
        default=("tight", "dilated", "left", "right"),
        min_length=1,
        description="Mask variants. Each item gets one candidate for each variant.",
    )
    score_threshold: float = Field(
        default=0.9,
        ge=0,
        le=1,
        description="Minimum score of an accepted candidate (RORem: 0.9). The best candidate of an item "
        "counts.",
    )
    sampling: Annotated[SamplingConfig, FromProfile("sampling")] = from_profile(
        "How the remover samples removals."
    )
    image_format: PhaseImageFormat = from_profile(IMAGE_FORMAT)
    shard_items: ShardItems = 150
    workers: Workers = INLINE
    retrain: RetrainTrigger = Field(
        default=RetrainTrigger(),
        description="The number of accepted samples after which the remover is trained again.",
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


class NightDiscriminator(BaseModel):
    """The discriminator that scores a night's candidates. None if there was none when they were made."""

    model_config = ConfigDict(frozen=True)

    discriminator: DiscriminatorRef | None


class NightParent(BaseModel):
    """The dataset version that a night grows."""

    model_config = ConfigDict(frozen=True)

    version: int


@flow(name="nightly-candidates", flow_run_name=night_run_name("candidates", NightlyCandidatesConfig))
@fail_cleanly
def nightly_candidates(config: NightlyCandidatesConfig) -> CandidatesResult:
    """Choose, propose, score, grow; then ask for a retraining where enough has joined since the last.

    Started again for a night that is done, it only asks again; after a kill it goes on where it stood.

    Raises:
        FlowError: If the workspace has no remover or no dataset version yet.
    """
    workspace, night = Workspace.open(config.workspace), night_of(config)
    result = done_before(workspace, WORK, night, CandidatesResult) or _edited(config, workspace, night)
    ask_for_retraining(workspace, config.retrain)
    return result


def _edited(config: NightlyCandidatesConfig, workspace: Workspace, night: date) -> CandidatesResult:
    """The night's work; its record in the ledger comes last."""
    phase = Phase(WORK, f"night {night}", "night", 0)
    start = begin(workspace, phase, config.sampling)
    if start.version is None:
        raise FlowError("this workspace has no dataset version yet; run `cleanplate ingest` first")
    wanted = unused_count(workspace, at_most=config.items)
    items = choose_items(workspace, f"{WORK} {night}", "night", wanted, config.seed)
    proposal = Proposal(config.variants, config.shard_items, config.image_format, config.workers)
    refs = propose_over_shards(workspace, phase, proposal, start.remover, items)
    discriminator = _discriminator(workspace, phase.name)
    keys: list[str] = []
    if discriminator is not None and refs:
        keys = accept_by_score(workspace, phase, refs, discriminator, config.score_threshold, config.workers)
    parent = _parent(workspace, phase.name, start)
    version, growth = grow_version(workspace, phase, Accepted(items, refs, keys), parent)
    result = CandidatesResult(
        night=night,
        items=len(items),
        candidates=sum(ref.samples for ref in refs),
        accepted=growth.kept,
        discriminator=None if discriminator is None else discriminator.hash,
        version=version,
    )
    _publish(result)
    close_night(config, workspace, WORK, night, result)
    return result


def _discriminator(workspace: Workspace, phase: str) -> DiscriminatorRef | None:
    """The newest discriminator when the night's candidates were first scored; the same one after a kill."""
    ledger = workspace.ledger()
    newest = NightDiscriminator(discriminator=newest_discriminator(workspace))
    ledger.results.record("night_discriminator", phase, newest, run=WORK)
    chosen = ledger.results.get("night_discriminator", phase, NightDiscriminator, run=WORK)
    assert chosen is not None, "it was just recorded"
    return chosen.discriminator


def _parent(workspace: Workspace, phase: str, start: PhaseStart) -> int:
    """The version to grow: the current one, which a round may have grown since the night began."""
    ledger = workspace.ledger()
    current = ledger.versions.current()
    number = start.version if current is None else current.number
    assert number is not None, "the night started from a version"
    ledger.results.record("night_parent", phase, NightParent(version=number), run=WORK)
    parent = ledger.results.get("night_parent", phase, NightParent, run=WORK)
    assert parent is not None, "it was just recorded"
    return parent.version


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
