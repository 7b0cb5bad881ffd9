"""How good a batch's answers are: person by person, pair by pair, and all together."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

QualityFlag = Literal["answers too fast", "always says the same", "often wrong on gold"]


class PersonQuality(BaseModel):
    """One person's answers that were not undone."""

    model_config = ConfigDict(frozen=True)

    person: str
    excluded: bool
    answers: int
    yes: int
    no: int
    skipped: int
    median_seconds: float | None
    """None where no answer says how long it took, as imported ones do not."""
    gold_answers: int
    """YES or NO to items of known answer."""
    gold_right: int
    flags: tuple[QualityFlag, ...]


class PairAgreement(BaseModel):
    """Two people on the items both said YES or NO to."""

    model_config = ConfigDict(frozen=True)

    first: str
    second: str
    items: int
    agreed: int
    kappa: float | None
    """Cohen's, -1..1; None where both only ever gave one and the same answer."""


class ReviewQuality(BaseModel):
    """A batch's quality. Excluded people have a row, and count in no agreement."""

    model_config = ConfigDict(frozen=True)

    batch: str
    people: tuple[PersonQuality, ...]
    pairs: tuple[PairAgreement, ...]
    alpha: float | None
    """Krippendorff's, nominal, over YES and NO; None where nothing was answered twice, or all alike."""
    shared: int
    """Items that two people or more said YES or NO to."""
