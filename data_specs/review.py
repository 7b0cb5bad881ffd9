"""A review: one answer to one candidate. Events; they are added, never changed."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

Decision = Literal["yes", "no", "skip"]
ReviewerKind = Literal["person", "oracle"]
"""An oracle's answer is stored as the oracle's, never as a person's."""


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
