"""The time that a piece of work cost, counted once, where it was really done."""

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class Seconds(BaseModel):
    """How long something took, and how long it kept processors busy."""

    model_config = ConfigDict(frozen=True)

    wall: float = Field(ge=0)
    cpu: float = Field(ge=0)
    """Of all threads of the worker's process."""
    gpu: float = Field(ge=0)
    """Wall seconds, if the worker's process held GPU memory at the end. Else 0."""


class Spending(BaseModel):
    """One piece of work in the ledger."""

    model_config = ConfigDict(frozen=True)

    what: str
    """The kind of work: ``propose``, ``score``, ``train remover`` …"""
    seconds: Seconds
    recorded_at: AwareDatetime
