"""The time that a piece of work took, counted once, where it was really done."""

from pydantic import BaseModel, ConfigDict, Field


class Seconds(BaseModel):
    """How long something took, and how long it kept processors busy."""

    model_config = ConfigDict(frozen=True)

    wall: float = Field(ge=0)
    cpu: float = Field(ge=0)
    """Of all threads of the worker's process."""
    gpu: float = Field(ge=0)
    """Wall seconds, if the worker's process held GPU memory at the end. Else 0."""
