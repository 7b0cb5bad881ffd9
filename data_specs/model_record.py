"""A trained model in the ledger: its card, its measurements, and its promotions."""

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

ModelKind = Literal["remover", "discriminator", "base", "object-clear"]
PromotionAction = Literal["promoted", "rolled back"]


class ModelRecord(BaseModel):
    """One set of weights. The hash is its name. Its folder holds the same data as ``model-card.json``."""

    model_config = ConfigDict(frozen=True)

    hash: str
    """Hash of weights and settings."""
    kind: ModelKind
    path: str
    """Path relative to the workspace."""
    parent: str | None
    """Hash of the model it was trained from."""
    dataset_version: int | None
    """The version it was trained on. None if there was none."""
    metrics: dict[str, float]
    """Results of its training, such as the loss of the last steps."""
    created_at: AwareDatetime
    settings: dict[str, Any] = {}
    """Settings of training and sampling. Empty if unknown."""
    weights: dict[str, str] = {}
    """Each safetensors file, relative to ``path``, with its sha256. Empty for a model without a card."""
    git_revision: str = ""
    """Revision of the code that made it, ``-dirty`` if files had changes. Empty if unknown."""
    distilled: bool = False
    """Whether it learnt from its parent's removals. It learnt nothing new of its dataset version then."""


class ModelMeasurement(BaseModel):
    """Measurements of a model on some images. They are events: added, never changed."""

    model_config = ConfigDict(frozen=True)

    event: str
    """Derived from everything except the time: the same measurement twice is one event."""
    hash: str
    measured_on: str
    """The images, in words: ``validation split, studio:``."""
    dataset_version: int | None
    """Dataset version of the images. None if no version was given."""
    values: dict[str, float]
    """By name: ``success_rate`` 0..1, ``psnr`` dB …"""
    measured_at: AwareDatetime


class Promotion(BaseModel):
    """A model became the champion of its kind. It is an event: added, never changed."""

    model_config = ConfigDict(frozen=True)

    event: str
    """Derived from kind, hash and reason: the same promotion twice is one event."""
    kind: ModelKind
    hash: str
    reason: str
    promoted_at: AwareDatetime
    action: PromotionAction = "promoted"
    """``rolled back``: a former champion is champion again, and its successors are no former champions."""


class ModelStanding(BaseModel):
    """A model with everything that is known about it."""

    model_config = ConfigDict(frozen=True)

    record: ModelRecord
    champion: bool
    measurements: list[ModelMeasurement]
    """First to last."""
    promotions: list[Promotion]
    """Its own promotions, first to last."""
    fault: str
    """What is wrong with its weights on disk, in a sentence. Empty if they are unchanged."""


class ComparedValue(BaseModel):
    """One number for each of two models."""

    model_config = ConfigDict(frozen=True)

    measured_on: str
    name: str
    first: float | None
    """None if it was not measured for this model."""
    second: float | None

    @property
    def difference(self) -> float | None:
        """Second − first, if both were measured."""
        return None if self.first is None or self.second is None else self.second - self.first


class ModelComparison(BaseModel):
    """Two models side by side."""

    model_config = ConfigDict(frozen=True)

    first: ModelRecord
    second: ModelRecord
    values: list[ComparedValue]
    settings: dict[str, tuple[Any, Any]]
    """Settings that differ, by dotted name. None if a model has no setting of that name."""
    samples_added: int | None
    """Samples that the second's dataset version adds to the first's. None if one has no version."""
    samples_removed: int | None
