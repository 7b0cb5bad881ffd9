"""A review: one answer to one candidate. Events; they are added, never changed."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict

from data_specs.plain_text import plain_text

Decision = Literal["yes", "no", "skip"]
ReviewerKind = Literal["person", "oracle"]
"""An oracle's answer is stored as the oracle's, never as a person's."""

ExchangeFormat = Literal["label-studio", "csv", "parquet"]
"""How candidates go to another tool and answers come back."""

REASONS = ("left-over", "hallucination", "blur", "seam", "effect left")
"""Why a person may say NO, in the order of the page's number keys."""

PlainText = Annotated[str, AfterValidator(plain_text)]
"""One line of letters, as a person's name or reason comes in."""


class Review(BaseModel):
    """A reviewer's YES, NO or skip (RORem, stage 2)."""

    model_config = ConfigDict(frozen=True)

    event: str
    """Derived: the same answer given twice is one event."""
    candidate: str
    decision: Decision
    reviewer: str
    kind: ReviewerKind
    reason: str = ""
    """Why NO: ``left-over``, ``effect left``, ``hallucination``, ``seam`` …; empty on YES."""
    answered_at: datetime
    batch: str | None = None
    """The review batch that asked; None where no batch did, as for the oracle."""
    seconds: float | None = None
    """How long the person looked, as the page measured it; None where nobody did."""
    page_version: str | None = None
    """The version of the page that showed it."""


# A person who reviews: a name, a token of which only the hash is kept, and what was decided about them.

PersonEventKind = Literal["added", "token replaced", "excluded", "readmitted"]


class Person(BaseModel):
    """Somebody who may sign in and answer."""

    model_config = ConfigDict(frozen=True)

    name: str
    excluded: bool
    """Whether their answers are left out of every decision; none of them is deleted."""


class PersonEvent(BaseModel):
    """Something decided about a person. Events; they are added, never changed."""

    model_config = ConfigDict(frozen=True)

    event: str
    person: str
    kind: PersonEventKind
    reason: str
    recorded_at: datetime
