"""A review batch: candidates that people are asked about, what is wanted of them, and who holds which now."""

from datetime import datetime
from typing import Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from data_specs.review import Decision

QueueOrder = Literal["random", "uncertain", "mixed"]
BatchEventKind = Literal["opened", "extended", "continued", "abandoned"]
LeaseState = Literal["live", "answered", "expired", "undone"]


class QueuePolicy(BaseModel):
    """How a batch is asked: how many people see what, and what comes first.

    Ledgers of earlier versions hold policies with ``_share`` for ``_fraction``; those are read too.
    """

    model_config = ConfigDict(frozen=True)

    overlap_people: int = Field(
        default=2, ge=1, le=20, description="How many people answer an item that is shared, and a gold one."
    )
    overlap_fraction: float = Field(
        validation_alias=AliasChoices("overlap_fraction", "overlap_share"),
        default=0.05,
        ge=0,
        le=1,
        description="Share of the items that are shared; the others want one answer.",
    )
    gold_fraction: float = Field(
        validation_alias=AliasChoices("gold_fraction", "gold_share"),
        default=0.0,
        ge=0,
        le=0.5,
        description="Items with known answers mixed in, as a share of the others.",
    )
    order: QueueOrder = Field(
        default="random",
        description="random: in a random order. uncertain: nearest the discriminator's 0.5 first. "
        "mixed: mixed_fraction of the items nearest 0.5, spread among the others.",
    )
    mixed_fraction: float = Field(
        validation_alias=AliasChoices("mixed_fraction", "mixed_share"),
        default=0.5,
        ge=0,
        le=1,
        description="Where order is mixed: the share taken by nearness to 0.5.",
    )
    lease_seconds: int = Field(
        default=600, ge=10, le=86_400, description="How long an item is kept for the person it was shown to."
    )
    seed: int = Field(default=0, ge=0, description="Decides the random order and which items are shared.")


class ReviewItem(BaseModel):
    """One candidate of a batch."""

    model_config = ConfigDict(frozen=True)

    candidate: str
    answers_wanted: int = Field(ge=1)
    """By so many different people."""
    gold: Literal["yes", "no"] | None = None
    """The known answer, where the item is there to measure people; it never joins a decision."""


class ReviewBatch(BaseModel):
    """A batch by name; its items come in the order of the queue."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")
    round: int = Field(ge=0)
    policy: QueuePolicy
    opened_at: datetime


class BatchEvent(BaseModel):
    """Something that befell a batch. Events; they are added, never changed."""

    model_config = ConfigDict(frozen=True)

    event: str
    batch: str
    kind: BatchEventKind
    reason: str
    recorded_at: datetime


class Lease(BaseModel):
    """An item kept for one person until a moment."""

    model_config = ConfigDict(frozen=True)

    lease: str
    """Derived from batch, candidate, person and how often that person had it."""
    batch: str
    candidate: str
    person: str
    expires_at: datetime


class BatchCounts(BaseModel):
    """How far a batch has come. Undone answers and those of excluded people count nowhere."""

    model_config = ConfigDict(frozen=True)

    items: int
    wanted: int
    """Answers wanted in all."""
    answers: int
    complete: int
    """Items that have all their answers."""
    left: int
    """Answers still wanted."""
    yes: int
    """Answers YES to items that are not gold; so too ``no`` and ``skipped``."""
    no: int
    skipped: int
    gold_answers: int
    """YES or NO to gold items."""
    gold_right: int


class Progress(BaseModel):
    """What a person hears after each answer."""

    model_config = ConfigDict(frozen=True)

    left: int
    """Answers the batch still wants, of anybody."""
    answers: int
    """The person's own that stand."""
    per_minute: float
    """The person's pace over the last five minutes."""


class Answer(BaseModel):
    """What a person says about a leased item."""

    model_config = ConfigDict(frozen=True)

    decision: Decision
    reason: str = ""
    seconds: float = Field(ge=0, allow_inf_nan=False)
    page_version: str = ""
