"""Evaluate removers: every method on the same images, metrics with intervals, and images to look at."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field, model_validator

from data_specs.arrays import RgbImage
from data_specs.assessment import QualityConfig
from data_specs.comparison import Comparison, ImageResult
from data_specs.errors import InputError
from data_specs.metric import MetricName
from data_specs.triplet import Triplet
from flows.report.artifacts import artifact_key, publish_comparison
from flows.report.pages import write_comparison_page
from flows.report.sheets import MethodsRow, draw_methods
from flows.report.tables import as_markdown, paper_tables
from flows.rorem.phases import ended_phases
from flows.runtime.runs import fail_cleanly, run_name
from models.metrics.registry import MetricConfig
from models.protocols import RemovalModel
from tasks.evaluation.benchmark import (
    MeasureWork,
    loaded_metrics,
    measure_method,
    method_label,
    method_remover,
    recorded_model,
    same_size_batches,
)
from tasks.evaluation.evaluate import removals_of
from tasks.evaluation.statistics import (
    Measurement,
    method_difference,
    method_result,
    read_results,
    results_bytes,
    worst_median_best,
)
from tasks.evaluation.test_set import EvaluationSet, VersionSet, pinned, read_set, set_words
from tasks.sources.readers import FolderSource
from tasks.storage.atomic_files import write_durably
from tasks.storage.object_store import working_folder
from tasks.storage.workspace import Workspace

# Sample grids of an evaluation: worst, median and best images of each method, as all methods left them.

RANKED_BY: MetricName = "psnr_fg"
"""Inside object and effects: the part a removal is there for, and always measured."""

Rows = Mapping[str, Sequence[ImageResult]]
"""Each method's rows, by its label."""


def method_grids(
    methods: Sequence[str], images: EvaluationSet, profile: str | None, rows: Rows, rows_each: int
) -> dict[str, bytes]:
    """A grid a method: heading to PNG.

    The few images shown are removed from once more; removals are not kept while measuring.

    Args:
        methods: As ``tasks.evaluation.benchmark.method_remover`` knows them.
        images: The pinned set.
        profile: The profile whose sampling the networks use. None: their own.
        rows: What was measured.
        rows_each: How many worst, median and best images; 0 for no grids.
    """
    if rows_each == 0:
        return {}
    chosen = {
        method: worst_median_best(method_rows, RANKED_BY, rows_each) for method, method_rows in rows.items()
    }
    keys = {row.key for parts in chosen.values() for part in parts.values() for row in part}
    triplets = {t.key: t for t in read_set(images, keys) if isinstance(t, Triplet) and t.key in keys}
    removals = {
        method_label(method): _removals(method_remover(method, images, profile), list(triplets.values()))
        for method in methods
    }
    figures = {
        method: {row.key: f"{row.values[RANKED_BY]:.1f} dB" for row in method_rows}
        for method, method_rows in rows.items()
    }
    return {
        f"{method}: worst, median and best": draw_methods(
            [
                _row(triplets[row.key], part, removals, figures)
                for part, part_rows in parts.items()
                for row in part_rows
            ],
            list(removals),
        )
        for method, parts in chosen.items()
    }


def _removals(remover: RemovalModel, triplets: Sequence[Triplet]) -> dict[str, RgbImage]:
    return {
        triplet.key: removal
        for batch in same_size_batches(triplets)
        for triplet, removal in zip(batch, removals_of(remover, batch), strict=True)
    }


def _row(
    triplet: Triplet,
    part: str,
    removals: Mapping[str, Mapping[str, RgbImage]],
    figures: Mapping[str, Mapping[str, str]],
) -> MethodsRow:
    return MethodsRow(
        source=triplet.source,
        mask=triplet.mask,
        removals=[images_of[triplet.key] for images_of in removals.values()],
        ground_truth=triplet.ground_truth,
        figures=[figures[method][triplet.key] for method in removals],
        rank=part,
        caption=triplet.origin,
    )


class EvaluateConfig(BaseModel):
    """Which methods are measured, on which images, and where the results go."""

    model_config = ConfigDict(frozen=True)

    images: EvaluationSet = Field(
        default=VersionSet(), description="The images on which the methods are measured."
    )
    methods: tuple[str, ...] = Field(
        default=("telea", "rorem"),
        min_length=1,
        description="Methods to measure. A shipped one is telea, patch-match, rorem or object-clear. A "
        "workspace's one is champion or a hash. A folder works, too. All are compared with the first.",
    )
    profile: str | None = Field(
        default=None,
        description="The profile whose sampling all RORem networks use: tiny, full, or the path of a JSON "
        "file. None: each network's own sampling.",
    )
    metrics: MetricConfig = Field(default=MetricConfig(), description="The folder with the metrics' weights.")
    quality: QualityConfig = Field(
        default=QualityConfig(),
        description="Definition of a success. Its effect_levels also define the effect in M_fg.",
    )
    out: Path = Field(
        default=Path("evaluation"), description="The folder for the results, the page and the images."
    )
    seed: int = Field(
        default=0, ge=0, description="Seed of the bootstrap. The noise of an image follows from its key."
    )
    grid_rows: int = Field(
        default=2, ge=0, le=20, description="Number of worst, median and best images to show for each method."
    )
    table: bool = Field(
        default=False,
        description="Whether to show the papers' tables beside these results. For a workspace they also "
        "show its cycle's phases.",
    )

    @model_validator(mode="after")
    def _labels_differ(self) -> Self:
        labels = [method_label(method) for method in self.methods]
        if len(set(labels)) != len(labels):
            raise ValueError(f"two methods have the name {max(labels, key=labels.count)}; leave one out")
        return self


def _name(config: EvaluateConfig) -> str:
    """``evaluate telea, champion on version 7``."""
    chosen = pinned(config.images)
    where = f"version {chosen.version}" if isinstance(chosen, VersionSet) else chosen.path.name
    return f"evaluate {', '.join(map(method_label, config.methods))} on {where}"


@flow(name="evaluate", flow_run_name=run_name(EvaluateConfig, _name))
@fail_cleanly
def evaluate(config: EvaluateConfig) -> Comparison:
    """Measure each method, a task run each; compare; write results, page and grids into ``out``.

    Run again it measures only what is new: another method, other images, another metric.

    Raises:
        InputError: If the images, the weights' folder or a method are not there, or ``out`` is no folder.
        FlowError: If there is nothing to measure on.
        ModelError: If a method's or a metric's weights cannot be used.
    """
    out = results_folder(config)
    images = pinned(config.images)
    _, left_out = loaded_metrics(config.metrics.weights)
    measurements: list[Measurement] = []
    rows: dict[str, list[ImageResult]] = {}
    for method in config.methods:
        work = MeasureWork(
            method=method,
            images=images,
            profile=config.profile,
            metrics=config.metrics,
            quality=config.quality,
        )
        (measurement,), measured_rows = read_results(measure_method(work, out))
        measurements.append(measurement)
        rows[measurement.method] = measured_rows
    first = measurements[0]
    baseline = rows[first.method]
    comparison = Comparison(
        measured_on=set_words(images),
        dataset_version=first.dataset_version,
        methods=[
            method_result(measurement, rows[measurement.method], config.seed) for measurement in measurements
        ],
        differences=[
            method_difference(rows[measurement.method], baseline, config.seed)
            for measurement in measurements[1:]
        ],
        left_out=left_out,
        rejects=first.rejects,
        results=str(out / "results.parquet"),
        report=str(out / "report.html"),
    )
    if config.table:
        tables = paper_tables(comparison, ended_phases(images))
        comparison = comparison.model_copy(update={"paper_tables": tables})
        write_durably(out / "paper-tables.md", as_markdown(tables).encode())
    grids = method_grids(config.methods, images, config.profile, rows, config.grid_rows)
    every_row = [row for method_rows in rows.values() for row in method_rows]
    write_durably(out / "results.parquet", results_bytes(measurements, every_row))
    for heading, png in grids.items():
        write_durably(out / f"{artifact_key(heading)}.png", png)
    write_comparison_page(out / "report.html", comparison, grids)
    write_durably(out / "comparison.json", comparison.model_dump_json(indent=2).encode() + b"\n")
    share_results(out, images)
    publish_comparison(comparison, grids)
    _remember(config.methods, images, comparison)
    return comparison


def share_results(out: Path, images: VersionSet | FolderSource) -> None:
    """Results that lie in the images' workspace are kept where it is kept."""
    if not isinstance(images, VersionSet):
        return
    workspace = Workspace(images.workspace)
    root = workspace.root.resolve()
    if out.is_relative_to(root):
        for path in sorted(file for file in out.rglob("*") if file.is_file()):
            workspace.store.share(path.relative_to(root).as_posix())


def _remember(methods: Sequence[str], images: VersionSet | FolderSource, comparison: Comparison) -> None:
    """What was found of a workspace's own models joins their cards."""
    for method, result in zip(methods, comparison.methods, strict=True):
        model = recorded_model(method, images)
        if model is not None and isinstance(images, VersionSet):
            means = {name: interval.mean for name, interval in result.means.items()}
            where = f"{images.split} split, {images.origin or 'all'}"
            ledger = Workspace(images.workspace).ledger()
            ledger.models.record_measurement(model.hash, where, images.version, means)


def results_folder(config: EvaluateConfig) -> Path:
    """Where the results go, made; below a bucket's address it is in this machine's cache.

    Raises:
        InputError: If it cannot be a folder.
    """
    out, images = config.out, config.images
    if isinstance(images, VersionSet) and out.is_relative_to(images.workspace):
        out = working_folder(images.workspace) / out.relative_to(images.workspace)
    out = out.expanduser().resolve()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            out, f"cannot be used as a folder for results ({error.strerror}); name another with --out"
        ) from error
    return out
