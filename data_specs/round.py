"""The result of a cycle: a row for each phase, and a row for each discriminator (RORem, table 1)."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from data_specs.composite import PooledComposites

PhaseKind = Literal["base", "initialisation", "human", "automation", "final", "distillation"]


class PhaseResult(BaseModel):
    """One row of RORem's table 1, measured on the test split, which no phase has seen."""

    model_config = ConfigDict(frozen=True)

    name: str
    """``base model``, ``initialisation``, ``human 1``, ``automation 1`` …"""
    kind: PhaseKind
    round: int | None = Field(default=None, ge=1)
    """None if the phase belongs to no round."""
    tested: int = Field(ge=0)
    """Pool items whose candidates got a decision."""
    kept: int = Field(ge=0)
    """Of these, the items that joined the training set."""
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
    psnr: float | None = None
    """dB of whole images. None in results from before it was measured."""
    measured_on: str = ""
    """The test images in words: ``test split, clip:``. Empty if ``psnr`` is None."""
    promoted: bool
    """True if the phase's remover became the champion."""
    reason: str
    """Why it was promoted or not, in one sentence."""
    seconds: float = Field(ge=0)


class EndedPhase(BaseModel):
    """What a report reads of a phase that ended."""

    model_config = ConfigDict(frozen=True)

    result: PhaseResult


class KeptSet(BaseModel):
    """What a rule keeps of the best candidates of fresh items, and how much of it is good."""

    model_config = ConfigDict(frozen=True)

    threshold: float | None
    """Score above which a candidate is kept. None: no threshold was certified, so nothing is kept."""
    items: int = Field(ge=0)
    """Items whose best candidate has a true answer."""
    kept: int = Field(ge=0)
    good: int = Field(ge=0)
    """Of the kept ones."""


class DiscriminatorResult(BaseModel):
    """How reliable the discriminator is, on unseen items that it was not trained on."""

    model_config = ConfigDict(frozen=True)

    round: int = Field(ge=1)
    reviewed: int = Field(ge=0)
    """Reviews in its training and calibration."""
    tested: int = Field(ge=0)
    """Number of unseen candidates it was measured on."""
    precision: float | None
    """Fraction of truly good removals among those scored > 0.9. None if it kept none."""
    recall: float = Field(ge=0, le=1)
    auc: float = Field(ge=0, le=1)
    base_rate: float = Field(ge=0, le=1)
    """Fraction of truly good removals among all."""
    calibration_error: float = Field(ge=0, le=1)
    """Expected calibration error over ten equal-width bins."""
    success_gap: float = Field(ge=0, le=1)
    """|discriminator's success rate − reviewer's| on the same unseen items."""
    success_gap_error: float | None = None
    """Standard error of the gap by the draw of the unseen items. None in results from before."""
    error_rate: float | None = None
    """Fraction of wrong answers that the calibration assumed. None in results from before."""
    by_score: KeptSet | None = None
    """What is kept if each kept one scores above the threshold. None in results from before."""
    by_purity: KeptSet | None = None
    """What is kept if the kept ones together shall be pure. None in results from before."""


class ReliabilityBin(BaseModel):
    """One point of the reliability curve."""

    model_config = ConfigDict(frozen=True)

    low: float
    high: float
    count: int
    mean_score: float
    success_rate: float


class DiscriminatorCurves(BaseModel):
    """Data of the report's plots of one discriminator."""

    model_config = ConfigDict(frozen=True)

    round: int
    scores_good: list[float]
    """Scores of unseen candidates that are truly good."""
    scores_bad: list[float]
    reliability: list[ReliabilityBin]


class LossCurve(BaseModel):
    """One training's loss, thinned to at most a few hundred points."""

    model_config = ConfigDict(frozen=True)

    name: str
    """``initialisation``, ``human 1``, ``discriminator 1`` …"""
    steps: list[int]
    losses: list[float]


class ClipResult(BaseModel):
    """The remover and a classical fill on the held-out time block of the real clip."""

    model_config = ConfigDict(frozen=True)

    method: str
    """``telea``, ``initialisation``, ``final`` …"""
    triplets: int
    psnr_mask: float
    """dB inside the mask, mean over triplets."""
    psnr_background: float


class MaskResult(BaseModel):
    """A remover on test triplets under one kind of mask. M_fg follows from the triplets' own masks."""

    model_config = ConfigDict(frozen=True)

    mask: str
    """As ``models.images.sloppy_masks`` names it."""
    method: str
    triplets: int
    psnr_effect: float
    """dB inside object and effect (M_fg), mean over triplets."""
    psnr: float
    """dB of the whole image, mean over triplets."""
    success_rate: float
    """0..1."""


class DatasetSummary(BaseModel):
    """Size and composition of the dataset."""

    model_config = ConfigDict(frozen=True)

    version: int
    samples: int
    shards: int


class CycleResult(BaseModel):
    """Everything that ``cleanplate demo --json`` prints and the report shows."""

    model_config = ConfigDict(frozen=True)

    phases: list[PhaseResult]
    discriminators: list[DiscriminatorResult]
    clip: list[ClipResult]
    masks: list[MaskResult] = []
    """The last remover and ObjectClear under masks as people draw them. Empty without ObjectClear."""
    dataset: DatasetSummary
    rejects: dict[str, int]
    """Count by reason."""
    composites: PooledComposites | None = None
    """None if the pool has no composites of this run."""
    seconds: float
    peak_memory_gb: float
