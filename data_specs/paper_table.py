"""A paper's table with its columns as printed, and our own rows below the published ones."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class PaperColumn(BaseModel):
    """One column of numbers."""

    model_config = ConfigDict(frozen=True)

    name: str
    """By which rows name their numbers."""
    heading: str
    """As the paper prints it, with factor and unit."""
    digits: int
    """Decimals, as printed."""
    note: str = ""
    """What keeps our number apart from theirs, in a sentence."""


class PaperRow(BaseModel):
    """One line: a method, or a step of the rounds."""

    model_config = ConfigDict(frozen=True)

    name: str
    figures: Literal["published", "here"]
    """Whether the paper printed them, or they were measured by this program."""
    numbers: dict[str, float]
    """Column's name to its number, in the column's unit; a number that is not known is absent."""


class PaperTable(BaseModel):
    """A table of a paper."""

    model_config = ConfigDict(frozen=True)

    key: str
    title: str
    source: str
    """Paper and table; of figures known at second hand only, so it says."""
    published_on: str
    """The pictures that the published figures are of."""
    measured_on: str = ""
    """The pictures that ours are of; empty where there is none of ours."""
    first: str
    """Heading of the first column."""
    columns: list[PaperColumn]
    rows: list[PaperRow]
