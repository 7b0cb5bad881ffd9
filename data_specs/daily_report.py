"""The daily report: what a period of time brought, what it cost, and whether there is an alarm."""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from data_specs.round import PhaseResult
from data_specs.seconds import Seconds


class Prices(BaseModel):
    """Prices of an hour. 0 until somebody sets them."""

    model_config = ConfigDict(frozen=True)

    currency: str = Field(
        default="EUR", min_length=1, max_length=8, description="The currency, as reports show it."
    )
    cpu_hour: float = Field(default=0, ge=0, description="Price of one busy CPU core for an hour.")
    gpu_hour: float = Field(default=0, ge=0, description="Price of one GPU for an hour, busy or not.")

    def cost(self, seconds: Seconds) -> float:
        """Cost in the currency."""
        return (seconds.cpu * self.cpu_hour + seconds.gpu * self.gpu_hour) / 3600


class WorkDone(BaseModel):
    """One kind of work."""

    model_config = ConfigDict(frozen=True)

    what: str
    pieces: int
    """Number of shards, trainings or evaluations."""
    seconds: Seconds
    cost: float


class NewShards(BaseModel):
    """New shards of one stage."""

    model_config = ConfigDict(frozen=True)

    stage: str
    shards: int
    samples: int


class NewVersion(BaseModel):
    """A new dataset version."""

    model_config = ConfigDict(frozen=True)

    number: int
    samples: int
    grown_by: int
    """Samples more than its first parent. All its samples, if it has no parent."""
    note: str


class Drift(BaseModel):
    """Comparison of a round's automated phase with its human phase, or with the previous automated phase."""

    model_config = ConfigDict(frozen=True)

    what: Literal["keep rate", "score"]
    """``keep rate``: kept of tested items. ``score``: the discriminator's mean against people's YES."""
    phase: str
    """``automation 2`` …"""
    against: str
    """``human 2``, ``automation 1`` …"""
    expected: float = Field(ge=0, le=1)
    """The value that the phase is compared with."""
    found: float = Field(ge=0, le=1)
    error: float = Field(ge=0)
    """Standard error of the difference. Candidates of one image are correlated and count as one."""
    limit: float
    """The allowed difference."""

    @property
    def gap(self) -> float:
        """The difference, 0..1."""
        return abs(self.found - self.expected)

    @property
    def alarm(self) -> bool:
        """True if the difference exceeds the limit, and also what chance gives in 19 of 20 cases."""
        return self.gap > self.limit and self.gap > 1.96 * self.error


class DailyReport(BaseModel):
    """The whole report."""

    model_config = ConfigDict(frozen=True)

    since: AwareDatetime
    until: AwareDatetime
    phases: list[PhaseResult]
    work: list[WorkDone]
    shards: list[NewShards]
    rejects: dict[str, int]
    """By reason."""
    reviews: dict[str, int]
    """Counts by kind and answer: ``person yes``, ``oracle no`` …"""
    versions: list[NewVersion]
    drifts: list[Drift]
    accepted: int
    """Triplets, grown samples and composites that were made, and may join the dataset."""
    currency: str

    @property
    def cost(self) -> float:
        """Cost in the currency."""
        return sum(work.cost for work in self.work)

    @property
    def cost_per_accepted(self) -> float | None:
        """Cost in the currency. None if nothing was accepted."""
        return self.cost / self.accepted if self.accepted else None
