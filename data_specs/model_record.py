"""A trained model as the ledger knows it: its card, what was measured of it, and how it became champion."""

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

ModelKind = Literal["remover", "discriminator", "base"]
PromotionAction = Literal["promoted", "rolled back"]


class ModelRecord(BaseModel):
    """One set of weights; the hash is its name. Its folder holds the same, as ``model-card.json``."""

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
    """What its training found, such as the last steps' loss."""
    created_at: AwareDatetime
    settings: dict[str, Any] = {}
    """What it was trained and is sampled with; empty where nothing is known of it."""
    weights: dict[str, str] = {}
    """Each safetensors file, relative to ``path``, with its sha256; empty for one without a card."""
    git_revision: str = ""
    """Of the code that made it, ``-dirty`` where files were changed since; empty where unknown."""


class ModelMeasurement(BaseModel):
    """What a model was found to do on some images. Events; they are added, never changed."""

    model_config = ConfigDict(frozen=True)

    event: str
    """Derived from all but the time: the same measurement told twice is one event."""
    hash: str
    measured_on: str
    """For people: ``validation split, studio:``."""
    dataset_version: int | None
    """Whose images they were; None where no version was asked for."""
    values: dict[str, float]
    """By name: ``success_rate`` 0..1, ``psnr`` dB …"""
    measured_at: AwareDatetime


class Promotion(BaseModel):
    """A model became the champion of its kind. Events; they are added, never changed."""

    model_config = ConfigDict(frozen=True)

    event: str
    """Derived from kind, hash and reason: the same promotion told twice is one event."""
    kind: ModelKind
    hash: str
    reason: str
    promoted_at: AwareDatetime
    action: PromotionAction = "promoted"
    """``rolled back``: a former champion leads again, and what came after it is no longer a former one."""


class ModelStanding(BaseModel):
    """A model with all that is known of it."""

    model_config = ConfigDict(frozen=True)

    record: ModelRecord
    champion: bool
    measurements: list[ModelMeasurement]
    """First to last."""
    promotions: list[Promotion]
    """Its own, first to last."""
    fault: str
    """What is wrong with its weights on the disk, in a sentence; empty where they are as they were made."""


class ComparedValue(BaseModel):
    """One number of two models."""

    model_config = ConfigDict(frozen=True)

    measured_on: str
    name: str
    first: float | None
    """None where it was not measured of this one."""
    second: float | None

    @property
    def difference(self) -> float | None:
        """Second − first, where both were measured."""
        return None if self.first is None or self.second is None else self.second - self.first


class ModelComparison(BaseModel):
    """Two models side by side."""

    model_config = ConfigDict(frozen=True)

    first: ModelRecord
    second: ModelRecord
    values: list[ComparedValue]
    settings: dict[str, tuple[Any, Any]]
    """Settings that differ, by dotted name; None where one model has none of that name."""
    samples_added: int | None
    """By the second's dataset version to the first's; None where either has no version."""
    samples_removed: int | None
