"""The quality of a batch's answers: for each person, for each pair, and for all together."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

QualityFlag = Literal["answers too fast", "always says the same", "often wrong on gold"]


class PersonQuality(BaseModel):
    """One person's answers, without undone ones."""

    model_config = ConfigDict(frozen=True)

    person: str
    excluded: bool
    answers: int
    yes: int
    no: int
    skipped: int
    median_seconds: float | None
    """None if no answer has a duration. Imported answers have none."""
    gold_answers: int
    """YES or NO answers to items with a known answer."""
    gold_right: int
    flags: tuple[QualityFlag, ...]


class PairAgreement(BaseModel):
    """Two people, on the items that both answered with YES or NO."""

    model_config = ConfigDict(frozen=True)

    first: str
    second: str
    items: int
    agreed: int
    kappa: float | None
    """Cohen's kappa, -1..1. None if both only ever gave one and the same answer."""


class ReviewQuality(BaseModel):
    """A batch's quality. Disabled people have a row, but do not count in any agreement."""

    model_config = ConfigDict(frozen=True)

    batch: str
    people: tuple[PersonQuality, ...]
    pairs: tuple[PairAgreement, ...]
    alpha: float | None
    """Krippendorff's alpha, nominal, over YES and NO. None if no item has two answers, or all are equal."""
    shared: int
    """Items that two people or more answered with YES or NO."""
