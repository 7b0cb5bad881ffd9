"""A review: one answer to one candidate, the person who gave it, and the quality of a batch's answers.

Reviews are events: added, never changed.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict

from data_specs.plain_text import plain_text

Decision = Literal["yes", "no", "skip"]
KnownAnswer = Literal["yes", "no"]
"""The answer of a gold item."""
ReviewerKind = Literal["person", "oracle"]
"""An oracle's answer is stored as the oracle's, never as a person's."""

ExchangeFormat = Literal["label-studio", "csv", "parquet"]
"""Formats in which candidates go to another tool and answers come back."""

REASONS = ("left-over", "hallucination", "blur", "seam", "effect left")
"""Reasons for a NO, in the order of the page's number keys."""

PlainText = Annotated[str, AfterValidator(plain_text)]
"""One line of printable characters, such as a person's name or reason."""


class Review(BaseModel):
    """A reviewer's YES, NO or skip (RORem, stage 2)."""

    model_config = ConfigDict(frozen=True)

    event: str
    """Derived: the same answer twice is one event."""
    candidate: str
    decision: Decision
    reviewer: str
    kind: ReviewerKind
    reason: str = ""
    """Reason of a NO: ``left-over``, ``effect left``, ``hallucination``, ``seam`` …. Empty on YES."""
    answered_at: datetime
    batch: str | None = None
    """The review batch of the question. None if there was no batch, as for the oracle."""
    seconds: float | None = None
    """Seconds that the person looked, measured by the page. None if nobody did."""
    page_version: str | None = None
    """Version of the page that showed it."""


# A person who reviews: a name, the hash of a token, and decisions about them.

PersonEventKind = Literal["added", "token replaced", "excluded", "readmitted"]


class Person(BaseModel):
    """A person who may sign in and answer."""

    model_config = ConfigDict(frozen=True)

    name: str
    excluded: bool
    """Whether their answers are left out of every decision. None is deleted."""


class PersonEvent(BaseModel):
    """A decision about a person. It is an event: added, never changed."""

    model_config = ConfigDict(frozen=True)

    event: str
    person: str
    kind: PersonEventKind
    reason: str
    recorded_at: datetime


# The quality of a batch's answers: for each person, for each pair, and for all together.

QualityFlag = Literal["answers too fast", "always says the same", "often wrong on gold"]


class PersonQuality(BaseModel):
    """One person's answers, without undone ones."""

    model_config = ConfigDict(frozen=True)

    person: str
    excluded: bool
    answers: int
    yes: int
    no: int
    skipped: int
    median_seconds: float | None
    """None if no answer has a duration. Imported answers have none."""
    gold_answers: int
    """YES or NO answers to items with a known answer."""
    gold_right: int
    flags: tuple[QualityFlag, ...]


class PairAgreement(BaseModel):
    """Two people, on the items that both answered with YES or NO."""

    model_config = ConfigDict(frozen=True)

    first: str
    second: str
    items: int
    agreed: int
    kappa: float | None
    """Cohen's kappa, -1..1. None if both only ever gave one and the same answer."""


class ReviewQuality(BaseModel):
    """A batch's quality. Disabled people have a row, but do not count in any agreement."""

    model_config = ConfigDict(frozen=True)

    batch: str
    people: tuple[PersonQuality, ...]
    pairs: tuple[PairAgreement, ...]
    alpha: float | None
    """Krippendorff's alpha, nominal, over YES and NO. None if no item has two answers, or all are equal."""
    shared: int
    """Items that two people or more answered with YES or NO."""
