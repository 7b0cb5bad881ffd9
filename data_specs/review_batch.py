"""A review batch: candidates for people, the policy of the questions, and the current leases."""

from datetime import datetime
from typing import Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from data_specs.review import Decision, KnownAnswer

QueueOrder = Literal["random", "uncertain", "mixed"]
BatchEventKind = Literal["opened", "extended", "continued", "abandoned"]
Ending = Literal["continue", "abandon"]
"""How a batch ends before all of its answers are there."""


class QueuePolicy(BaseModel):
    """The policy of a batch: how many people see an item, and which items come first.

    Ledgers of earlier versions hold policies with ``_share`` in place of ``_fraction``. They can be read too.
    """

    model_config = ConfigDict(frozen=True)

    overlap_people: int = Field(
        default=2, ge=1, le=20, description="Number of people who answer a shared item or a gold item."
    )
    overlap_fraction: float = Field(
        validation_alias=AliasChoices("overlap_fraction", "overlap_share"),
        default=0.05,
        ge=0,
        le=1,
        description="Fraction of the items that several people answer. One person answers each of the "
        "others.",
    )
    gold_fraction: float = Field(
        validation_alias=AliasChoices("gold_fraction", "gold_share"),
        default=0.0,
        ge=0,
        le=0.5,
        description="Number of gold items, whose answer is known, as a fraction of the other items.",
    )
    order: QueueOrder = Field(
        default="random",
        description="The order of the items. random: a random order. uncertain: scores nearest to 0.5 "
        "first. mixed: mixed_fraction of the items by nearness to 0.5, spread among random "
        "ones.",
    )
    mixed_fraction: float = Field(
        validation_alias=AliasChoices("mixed_fraction", "mixed_share"),
        default=0.5,
        ge=0,
        le=1,
        description="Fraction of the items that order = mixed takes by nearness to 0.5.",
    )
    lease_seconds: int = Field(
        default=600,
        ge=10,
        le=86_400,
        description="Time for which a shown item is reserved for its reviewer, in seconds.",
    )
    seed: int = Field(
        default=0, ge=0, description="Seed of the random order and of the choice of shared items."
    )


class ReviewItem(BaseModel):
    """One candidate of a batch."""

    model_config = ConfigDict(frozen=True)

    candidate: str
    answers_wanted: int = Field(ge=1)
    """Number of different people that must answer."""
    gold: KnownAnswer | None = None
    """The known answer, if the item measures people. A gold item never joins a decision."""


class ReviewBatch(BaseModel):
    """A batch by name. Its items are in the order of the queue."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")
    round: int = Field(ge=0)
    policy: QueuePolicy
    opened_at: datetime


class BatchEvent(BaseModel):
    """Something that happened to a batch. It is an event: added, never changed."""

    model_config = ConfigDict(frozen=True)

    event: str
    batch: str
    kind: BatchEventKind
    reason: str
    recorded_at: datetime


class Lease(BaseModel):
    """An item that is kept for one person until a given time."""

    model_config = ConfigDict(frozen=True)

    lease: str
    """Derived from batch, candidate, person and how often that person had it."""
    batch: str
    candidate: str
    person: str
    expires_at: datetime


class BatchCounts(BaseModel):
    """Progress of a batch. Undone answers and answers of disabled people do not count."""

    model_config = ConfigDict(frozen=True)

    items: int
    wanted: int
    """Total number of wanted answers."""
    answers: int
    complete: int
    """Items that have all their answers."""
    left: int
    """Answers that are still missing."""
    yes: int
    """YES answers to items that are not gold. ``no`` and ``skipped`` count likewise."""
    no: int
    skipped: int
    gold_answers: int
    """YES or NO answers to gold items."""
    gold_right: int


class Progress(BaseModel):
    """What a person is told after each answer."""

    model_config = ConfigDict(frozen=True)

    left: int
    """Answers that the batch still needs, from anybody."""
    answers: int
    """The person's own answers that were not undone."""
    per_minute: float
    """The person's answers per minute over the last five minutes."""


class Answer(BaseModel):
    """A person's answer to a leased item."""

    model_config = ConfigDict(frozen=True)

    decision: Decision
    reason: str = ""
    seconds: float = Field(ge=0, allow_inf_nan=False)
    page_version: str = ""
