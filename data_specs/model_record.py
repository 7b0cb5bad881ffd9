"""A trained model as the ledger knows it, and the events that made one the champion."""

from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

ModelKind = Literal["remover", "discriminator", "base"]


class ModelRecord(BaseModel):
    """One set of weights; the hash is its name."""

    model_config = ConfigDict(frozen=True)

    hash: str
    """Of weights and settings."""
    kind: ModelKind
    path: str
    """Relative to the workspace."""
    parent: str | None
    """Hash of the model it was trained from."""
    dataset_version: int | None
    """The version it was trained on; None where there was none."""
    metrics: dict[str, float]
    created_at: AwareDatetime


class Promotion(BaseModel):
    """A model became the champion of its kind. Events; they are added, never changed."""

    model_config = ConfigDict(frozen=True)

    event: str
    """Derived from kind, hash and reason: the same promotion told twice is one event."""
    kind: ModelKind
    hash: str
    reason: str
    promoted_at: datetime
