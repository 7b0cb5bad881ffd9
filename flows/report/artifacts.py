"""What a run shows in Prefect: tables, sentences, charts and sample grids.

Call these inside a synchronous flow or task run, which the artifacts then belong to.
"""

import re
from collections.abc import Mapping, Sequence

from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

from data_specs.comparison import Comparison
from data_specs.round import CycleResult, DiscriminatorCurves, DiscriminatorResult, LossCurve, PhaseResult
from flows.report import charts, svg, tables, wording
from flows.report import sheets as grids
from flows.report.tables import as_markdown

# Images in Prefect: a sample grid, a chart; apart from the other artifacts, which know every model.
#
# Call these inside a synchronous flow or task run, which the artifacts then belong to.


def publish_grid(heading: str, png: bytes, shows: str = "") -> None:
    """A sample grid as ``grids.draw_grid`` makes it; ``shows`` says what its columns are, if they do not."""
    create_image_artifact(
        grids.data_uri(png),
        key=artifact_key(f"samples-{heading}"),
        description=f"{heading}: {shows}" if shows else heading,
    )


def publish_chart(name: str, chart: str, description: str) -> None:
    """Any chart of ``flows.report.charts``."""
    create_image_artifact(svg.data_uri(chart), key=artifact_key(name), description=description)


def artifact_key(name: str) -> str:
    """A name as Prefect takes it: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def publish_phases(phases: Sequence[PhaseResult]) -> None:
    """RORem's table 1, success by phase and keep rate by round."""
    create_table_artifact(
        tables.phase_rows(phases), key="phases", description=wording.success_sentence(phases)
    )
    publish_chart("success-by-phase", charts.success_by_phase(phases), "Success on the test split by phase")
    publish_chart("keep-rate-by-round", charts.keep_rate_by_round(phases), "Keep rate by round")


def publish_discriminator(discriminator: DiscriminatorResult, curves: DiscriminatorCurves) -> None:
    """One discriminator: its row, its scores with the 0.9 line, its reliability."""
    key = f"discriminator-{discriminator.round}"
    create_table_artifact(
        tables.discriminator_rows([discriminator]),
        key=key,
        description=wording.discriminator_sentence(discriminator),
    )
    create_table_artifact(
        tables.kept_rows([discriminator]),
        key=f"{key}-kept",
        description="What either rule keeps of the best candidates of fresh items",
    )
    publish_chart(
        f"{key}-scores", charts.score_histogram(curves), f"Scores of discriminator {discriminator.round}"
    )
    publish_chart(
        f"{key}-reliability",
        charts.reliability_curve(curves),
        f"Reliability of discriminator {discriminator.round}",
    )


def publish_loss(curve: LossCurve) -> None:
    """One training's loss."""
    publish_chart(f"loss-{curve.name}", charts.loss_curve(curve), f"Loss of {curve.name}")


def publish_cycle(
    result: CycleResult,
    curves: Sequence[DiscriminatorCurves],
    losses: Sequence[LossCurve],
    sample_grids: Mapping[str, bytes],
) -> None:
    """Everything the report shows, as artifacts of the cycle's own run."""
    publish_phases(result.phases)
    by_round = {one.round: one for one in curves}
    for discriminator in result.discriminators:
        publish_discriminator(discriminator, by_round[discriminator.round])
    for curve in losses:
        publish_loss(curve)
    for heading, png in sample_grids.items():
        publish_grid(heading, png)
    create_table_artifact(
        tables.clip_rows(result.clip), key="clip", description=wording.clip_sentence(result.clip)
    )
    create_table_artifact(
        tables.mask_rows(result.masks), key="masks", description=wording.masks_sentence(result.masks)
    )
    create_table_artifact(
        tables.reject_rows(result.rejects), key="rejects", description="Rejected, by reason"
    )
    create_markdown_artifact(summary(result), key="summary", description="The cycle in a few sentences")


def publish_comparison(comparison: Comparison, method_grids: Mapping[str, bytes]) -> None:
    """An evaluation: means, differences, what was left out, and the grids."""
    create_table_artifact(
        tables.mean_rows(comparison.methods),
        key="metrics",
        description=f"Mean [95 % interval] on {comparison.measured_on}",
    )
    if comparison.differences:
        create_table_artifact(
            tables.difference_rows(comparison.differences),
            key="metric-differences",
            description=f"Difference from {comparison.methods[0].method}, image by image",
        )
    if comparison.left_out:
        create_table_artifact(
            tables.left_out_rows(comparison),
            key="metrics-left-out",
            description="Not measured here, and why",
        )
    if comparison.paper_tables:
        page = as_markdown(comparison.paper_tables)
        create_markdown_artifact(page, key="paper-tables", description="The papers' tables, and ours")
    for heading, png in method_grids.items():
        publish_grid(heading, png)


def summary(result: CycleResult) -> str:
    """The cycle in a few sentences of Markdown."""
    data = result.dataset
    said = [
        wording.success_sentence(result.phases),
        *map(wording.discriminator_sentence, result.discriminators),
        wording.clip_sentence(result.clip),
        wording.masks_sentence(result.masks),
        *([wording.pooled_sentence(result.composites)] if result.composites else []),
        f"Dataset version {data.version} holds {data.samples:,} samples in {data.shards:,} shards.",
    ]
    return "\n".join(f"- {sentence}" for sentence in said)
