"""The daily report: what a stretch of time brought, what it cost, and whether to worry."""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from data_specs.round import PhaseResult
from data_specs.spending import Seconds


class Prices(BaseModel):
    """What an hour costs; nothing, until somebody says so."""

    model_config = ConfigDict(frozen=True)

    currency: str = Field(default="EUR", min_length=1, max_length=8, description="As it is to be shown.")
    cpu_hour: float = Field(default=0, ge=0, description="Of one core busy for an hour.")
    gpu_hour: float = Field(default=0, ge=0, description="Of one GPU held for an hour.")

    def cost(self, seconds: Seconds) -> float:
        """In the currency."""
        return (seconds.cpu * self.cpu_hour + seconds.gpu * self.gpu_hour) / 3600


class WorkDone(BaseModel):
    """One kind of work."""

    model_config = ConfigDict(frozen=True)

    what: str
    pieces: int
    """Shards, trainings, evaluations."""
    seconds: Seconds
    cost: float


class NewShards(BaseModel):
    """The shards of one stage that were made."""

    model_config = ConfigDict(frozen=True)

    stage: str
    shards: int
    samples: int


class NewVersion(BaseModel):
    """A dataset version that was made."""

    model_config = ConfigDict(frozen=True)

    number: int
    samples: int
    grown_by: int
    """Samples more than its first parent; its own, where it has none."""
    note: str


class Drift(BaseModel):
    """A round's automated phase held against its human one, or against the automated one before it."""

    model_config = ConfigDict(frozen=True)

    what: Literal["keep rate", "score"]
    """``keep rate``: kept of tested items. ``score``: the discriminator's mean against people's YES."""
    phase: str
    """``automation 2`` …"""
    against: str
    """``human 2``, ``automation 1`` …"""
    expected: float = Field(ge=0, le=1)
    """What the phase is held against."""
    found: float = Field(ge=0, le=1)
    error: float = Field(ge=0)
    """Standard error of their difference; an image's candidates rise and fall together and count as one."""
    limit: float
    """How far apart they may be."""

    @property
    def gap(self) -> float:
        """How far apart they are, 0..1."""
        return abs(self.found - self.expected)

    @property
    def alarm(self) -> bool:
        """Further apart than they may be, and than chance puts them in nineteen of twenty cases."""
        return self.gap > self.limit and self.gap > 1.96 * self.error


class DailyReport(BaseModel):
    """All of it."""

    model_config = ConfigDict(frozen=True)

    since: AwareDatetime
    until: AwareDatetime
    phases: list[PhaseResult]
    work: list[WorkDone]
    shards: list[NewShards]
    rejects: dict[str, int]
    """By reason."""
    reviews: dict[str, int]
    """``person yes``, ``oracle no`` … to how many."""
    versions: list[NewVersion]
    drifts: list[Drift]
    accepted: int
    """Triplets, grown samples and composites that were made: what may join the dataset."""
    currency: str

    @property
    def cost(self) -> float:
        """In the currency."""
        return sum(each.cost for each in self.work)

    @property
    def cost_per_accepted(self) -> float | None:
        """In the currency; None where nothing was accepted."""
        return self.cost / self.accepted if self.accepted else None
