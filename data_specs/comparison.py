"""A comparison of several methods on the same images, and the papers' tables with our rows."""

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
    """Rows use it as the key of their numbers."""
    heading: str
    """As the paper prints it, with factor and unit."""
    digits: int
    """Decimals, as printed."""
    note: str = ""
    """What separates our number from the paper's, in a sentence."""


class PaperRow(BaseModel):
    """One row: a method, or a step of the rounds."""

    model_config = ConfigDict(frozen=True)

    name: str
    figures: Literal["published", "here"]
    """Whether the paper printed the numbers, or this program measured them."""
    numbers: dict[str, float]
    """Column name → number in the column's unit. Unknown numbers are absent."""


class PaperTable(BaseModel):
    """A table of a paper."""

    model_config = ConfigDict(frozen=True)

    key: str
    title: str
    source: str
    """Paper and table. Says so if the numbers are known only at second hand."""
    published_on: str
    """The images of the published numbers."""
    measured_on: str = ""
    """The images of our numbers. Empty if there are none."""
    first: str
    """Heading of the first column."""
    columns: list[PaperColumn]
    rows: list[PaperRow]


class Interval(BaseModel):
    """A mean and its interval: 95 % percentile bootstrap over images."""

    model_config = ConfigDict(frozen=True)

    mean: float
    low: float
    high: float
    images: int
    """Number of images in the mean. A metric can be undefined for some images."""


class MetricLeftOut(BaseModel):
    """A metric that was not measured. It is absent from every table, never guessed."""

    model_config = ConfigDict(frozen=True)

    title: str
    reason: str
    fix: str
    """How to make it available."""


@dataclass(frozen=True, slots=True)
class ImageResult:
    """One row of a results file: one method on one image."""

    key: str
    """Key of the triplet."""
    scene: str
    origin: str
    method: str
    values: Mapping[MetricName, float]
    """NaN where the metric is undefined for the image (a null in the file)."""
    success: bool
    """Nothing left of object or effect, no seam, by the cycle's rule (``QualityConfig``)."""
    seconds: float
    """Time of its batch divided by the batch's images, in seconds."""

    def defined(self, metric: MetricName) -> bool:
        """Whether the metric has a value here."""
        return not math.isnan(self.values[metric])


class MethodResult(BaseModel):
    """Means of one method."""

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
    """Differences of a method from the first, image by image."""

    model_config = ConfigDict(frozen=True)

    method: str
    baseline: str
    differences: dict[MetricName, Interval]
    """Method − baseline, on the images where both are defined."""


class Comparison(BaseModel):
    """All results of an evaluation."""

    model_config = ConfigDict(frozen=True)

    measured_on: str
    """The images, in words: ``workspace, dataset version 3, test split``."""
    dataset_version: int | None
    """None for a folder of triplets."""
    methods: list[MethodResult]
    """In the order of the request. The first is the baseline of the differences."""
    differences: list[MethodDifference]
    left_out: list[MetricLeftOut]
    rejects: dict[str, int]
    """Refused images of a folder, by reason."""
    results: str
    """Path of the Parquet file with one row for each image and method."""
    report: str
    """Path of the HTML page with tables and images."""
    paper_tables: list[PaperTable] = []
    """The papers' tables with our rows. Empty if not requested."""
