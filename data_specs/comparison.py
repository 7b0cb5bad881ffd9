"""A comparison: several methods measured on the same images."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from data_specs.metric import MetricName

# A paper's table with its columns as printed, and our own rows below the published ones.


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
    """The images that the published figures are of."""
    measured_on: str = ""
    """The images that ours are of; empty where there is none of ours."""
    first: str
    """Heading of the first column."""
    columns: list[PaperColumn]
    rows: list[PaperRow]


class Interval(BaseModel):
    """A mean and where it may lie: 95 % percentile bootstrap over images."""

    model_config = ConfigDict(frozen=True)

    mean: float
    low: float
    high: float
    images: int
    """How many the mean is of; a metric can be undefined for some."""


class MetricLeftOut(BaseModel):
    """A metric that was not measured: it is absent from every table, never guessed."""

    model_config = ConfigDict(frozen=True)

    title: str
    reason: str
    fix: str
    """What to do to have it."""


@dataclass(frozen=True, slots=True)
class ImageResult:
    """One row of a results file: one method on one image."""

    key: str
    """The triplet's."""
    scene: str
    origin: str
    method: str
    values: Mapping[MetricName, float]
    """NaN where the metric is undefined for the image (a null in the file)."""
    success: bool
    """Nothing left of object or effect, no seam, as the cycle judges it (``QualityConfig``)."""
    seconds: float
    """Its share of the time its batch took."""

    def defined(self, metric: MetricName) -> bool:
        """Whether the metric has a value here."""
        return not math.isnan(self.values[metric])


class MethodResult(BaseModel):
    """One method's means."""

    model_config = ConfigDict(frozen=True)

    method: str
    model_hash: str
    images: int
    means: dict[MetricName, Interval]
    """A metric that is undefined for every image is absent."""
    success_rate: float
    """0..1."""
    seconds_per_image: float


class MethodDifference(BaseModel):
    """How a method differs from the first, image by image."""

    model_config = ConfigDict(frozen=True)

    method: str
    baseline: str
    differences: dict[MetricName, Interval]
    """Of method − baseline, on the images where both are defined."""


class Comparison(BaseModel):
    """All that an evaluation found."""

    model_config = ConfigDict(frozen=True)

    measured_on: str
    """The images, for people: ``workspace, dataset version 3, test split``."""
    dataset_version: int | None
    """None for a folder of triplets."""
    methods: list[MethodResult]
    """In the order asked for; the first is the baseline of the differences."""
    differences: list[MethodDifference]
    left_out: list[MetricLeftOut]
    rejects: dict[str, int]
    """Images of a folder that were refused, by reason."""
    results: str
    """The Parquet file with a row an image and method."""
    report: str
    """The HTML page with tables and images."""
    paper_tables: list[PaperTable] = []
    """The papers' tables with ours beside; empty where they were not asked for."""
