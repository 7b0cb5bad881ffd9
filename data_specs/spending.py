"""Spending: what a piece of work cost in time, once, where it was really done."""

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class Seconds(BaseModel):
    """How long something took, and what it kept busy."""

    model_config = ConfigDict(frozen=True)

    wall: float = Field(ge=0)
    cpu: float = Field(ge=0)
    """Of all threads of the worker's process."""
    gpu: float = Field(ge=0)
    """Wall seconds, where the worker's process held memory of a GPU at the end; else 0."""


class Spending(BaseModel):
    """One piece of work in the ledger."""

    model_config = ConfigDict(frozen=True)

    what: str
    """The kind of work: ``propose``, ``judge``, ``train remover`` …"""
    seconds: Seconds
    recorded_at: AwareDatetime
