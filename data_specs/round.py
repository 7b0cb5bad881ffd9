"""What a cycle reports: a row for each phase, a row for each discriminator (RORem, table 1)."""

from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from data_specs.compositing import PooledComposites

PhaseKind = Literal["base", "initialisation", "human", "automation"]


class PhaseResult(BaseModel):
    """One row of RORem's table 1, measured on the test split that no phase has seen."""

    model_config = ConfigDict(frozen=True)

    name: str
    """``base model``, ``initialisation``, ``human 1``, ``automation 1`` …"""
    kind: PhaseKind
    tested: int = Field(ge=0)
    """Pool items whose candidates were judged."""
    kept: int = Field(ge=0)
    """Items of them that joined the training set."""
    total: int = Field(ge=0)
    """Triplets in the training set after the phase."""
    success_rate: float = Field(ge=0, le=1)
    success_low: float = Field(ge=0, le=1)
    """95 % Wilson interval."""
    success_high: float = Field(ge=0, le=1)
    psnr_effect: float
    """dB inside object and effect, mean over test scenes."""
    psnr_background: float
    """dB outside them."""
    promoted: bool
    """True when the phase's remover became the champion."""
    reason: str
    """Why it was promoted or not, in one sentence."""
    seconds: float = Field(ge=0)


class StepMeasures(NamedTuple):
    """What a cycle's steps found on their own test images."""

    results: list[PhaseResult]
    """In order."""
    psnr: dict[str, float]
    """Step's name → whole-image dB of the remover in charge after it; absent where it was not measured."""
    measured_on: str
    """Those images, for people; empty where no step has a PSNR."""


class DiscriminatorResult(BaseModel):
    """How far the discriminator can be trusted, on fresh items it was not trained on."""

    model_config = ConfigDict(frozen=True)

    round: int = Field(ge=1)
    reviewed: int = Field(ge=0)
    """Reviews it was trained and calibrated on."""
    tested: int = Field(ge=0)
    """Fresh candidates it was measured on."""
    precision: float | None
    """Share of truly good ones among those scored > 0.9; None when it kept none."""
    recall: float = Field(ge=0, le=1)
    auc: float = Field(ge=0, le=1)
    base_rate: float = Field(ge=0, le=1)
    """Share of truly good ones among all."""
    calibration_error: float = Field(ge=0, le=1)
    """Expected calibration error over ten equal-width bins."""
    success_gap: float = Field(ge=0, le=1)
    """|discriminator's success rate − reviewer's| on the same fresh items."""


class ReliabilityBin(BaseModel):
    """One point of the reliability curve."""

    model_config = ConfigDict(frozen=True)

    low: float
    high: float
    count: int
    mean_score: float
    success_rate: float


class DiscriminatorCurves(BaseModel):
    """What the report draws of one discriminator."""

    model_config = ConfigDict(frozen=True)

    round: int
    scores_good: list[float]
    """Scores of fresh candidates that are truly good."""
    scores_bad: list[float]
    reliability: list[ReliabilityBin]


class LossCurve(BaseModel):
    """One training's loss, thinned to at most a few hundred points."""

    model_config = ConfigDict(frozen=True)

    name: str
    """``initialisation``, ``human 1``, ``judge 1`` …"""
    steps: list[int]
    losses: list[float]


class ClipResult(BaseModel):
    """The remover against a classical fill on the real clip's held-out time block."""

    model_config = ConfigDict(frozen=True)

    method: str
    """``telea``, ``initialisation``, ``final`` …"""
    triplets: int
    psnr_mask: float
    """dB inside the mask, mean over triplets."""
    psnr_background: float


class DatasetSummary(BaseModel):
    """Where the dataset stands."""

    model_config = ConfigDict(frozen=True)

    version: int
    samples: int
    shards: int


class CycleResult(BaseModel):
    """Everything ``cleanplate demo --json`` prints and the report draws."""

    model_config = ConfigDict(frozen=True)

    phases: list[PhaseResult]
    discriminators: list[DiscriminatorResult]
    clip: list[ClipResult]
    dataset: DatasetSummary
    rejects: dict[str, int]
    """Count by reason."""
    composites: PooledComposites | None = None
    """None where the pool holds none of this run's."""
    seconds: float
    peak_memory_gb: float
