"""A person who reviews: a name, a token of which only the hash is kept, and what was decided about them."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

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
