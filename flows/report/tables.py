"""The report's tables as rows of text, the same for the page and for Prefect."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_specs.comparison import (
    Comparison,
    Interval,
    MethodDifference,
    MethodResult,
    PaperColumn,
    PaperRow,
    PaperTable,
)
from data_specs.composite import CompositingResult, PooledComposites
from data_specs.metric import MetricSpec
from data_specs.round import ClipResult, DiscriminatorResult, KeptSet, MaskResult, PhaseResult
from models.metrics.registry import all_specs
from tasks.evaluation.success import wilson_interval

Row = dict[str, str]
"""Column heading to cell, in reading order."""

TEXT_COLUMNS = frozenset(
    {
        "phase",
        "remover kept?",
        "why",
        "discriminator of",
        "rule",
        "mask",
        "method",
        "metric",
        "reason",
        "to have it",
        "definition",
    }
    | {"setting", "value", "stage", "what", "step", "figures"}
)
"""Columns of words; all others hold numbers and are set flush right."""


def phase_rows(phases: Sequence[PhaseResult]) -> list[Row]:
    """RORem's table 1, a row a phase."""
    return [
        {
            "phase": phase.name,
            "tested": f"{phase.tested:,}" if phase.tested else "–",
            "kept": f"{phase.kept:,}" if phase.kept else "–",
            "total": f"{phase.total:,}" if phase.total else "–",
            "success %": f"{100 * phase.success_rate:.1f}",
            "95% interval": f"{100 * phase.success_low:.1f}–{100 * phase.success_high:.1f}",
            "PSNR effect dB": f"{phase.psnr_effect:.2f}",
            "PSNR background dB": f"{phase.psnr_background:.2f}",
            "remover kept?": "yes" if phase.promoted else "no",
            "why": phase.reason,
            "seconds": f"{phase.seconds:,.0f}",
        }
        for phase in phases
    ]


def discriminator_rows(discriminators: Sequence[DiscriminatorResult]) -> list[Row]:
    """How far each round's discriminator can be trusted, on fresh items."""
    return [
        {
            "discriminator of": f"round {discriminator.round}",
            "reviews learnt from": f"{discriminator.reviewed:,}",
            "fresh items": f"{discriminator.tested:,}",
            "precision above 0.9": "kept none"
            if discriminator.precision is None
            else f"{discriminator.precision:.1%}",
            "base rate": f"{discriminator.base_rate:.1%}",
            "recall": f"{discriminator.recall:.1%}",
            "AUC": f"{discriminator.auc:.3f}",
            "calibration error": f"{discriminator.calibration_error:.3f}",
            "success gap, points": _with_error(discriminator.success_gap, discriminator.success_gap_error),
        }
        for discriminator in discriminators
    ]


def kept_rows(discriminators: Sequence[DiscriminatorResult]) -> list[Row]:
    """What either rule keeps of fresh items' best candidates, and how pure that is."""
    return [
        {
            "discriminator of": f"round {discriminator.round}",
            "rule": rule,
            "score above": "–" if kept.threshold is None else f"{kept.threshold:.3f}",
            "items": f"{kept.items:,}",
            "kept": f"{kept.kept:,}",
            "kept %": f"{100 * kept.kept / max(1, kept.items):.1f}",
            "good %": f"{100 * kept.good / kept.kept:.1f}" if kept.kept else "–",
            "95% interval of good %": _interval(kept),
        }
        for discriminator in discriminators
        for rule, kept in (
            ("each above the threshold", discriminator.by_score),
            ("pure together", discriminator.by_purity),
        )
        if kept is not None
    ]


def _with_error(fraction: float, error: float | None) -> str:
    """A fraction in points, with its standard error where it is known."""
    return f"{100 * fraction:.1f}" if error is None else f"{100 * fraction:.1f} ± {100 * error:.1f}"


def _interval(kept: KeptSet) -> str:
    if not kept.kept:
        return "–"
    low, high = wilson_interval(kept.good, kept.kept)
    return f"{100 * low:.1f}–{100 * high:.1f}"


def clip_rows(clip: Sequence[ClipResult]) -> list[Row]:
    """Each method on the real clip's held-out time block."""
    return [
        {
            "method": one.method,
            "triplets": f"{one.triplets:,}",
            "PSNR in mask dB": f"{one.psnr_mask:.2f}",
            "PSNR background dB": f"{one.psnr_background:.2f}",
        }
        for one in clip
    ]


def mask_rows(masks: Sequence[MaskResult]) -> list[Row]:
    """Each remover under each mask as people draw them."""
    return [
        {
            "mask": one.mask,
            "method": one.method,
            "triplets": f"{one.triplets:,}",
            "PSNR in object and effect dB": f"{one.psnr_effect:.2f}",
            "PSNR of the image dB": f"{one.psnr:.2f}",
            "success %": f"{100 * one.success_rate:.1f}",
        }
        for one in masks
    ]


def compositing_rows(result: CompositingResult) -> list[Row]:
    """A row for each split that was kept and for each reason that was not, stage by stage."""
    rows: list[Row] = []
    for stage in result.stages:
        counts = {f"kept: {split}": count for split, count in stage.by_split.items()}
        counts |= {f"refused: {why}": count for why, count in stage.rejects.items()}
        rows += [
            {"stage": stage.stage, "what": what, "count": f"{count:,}"} for what, count in counts.items()
        ]
    return rows


def pooled_rows(pooled: PooledComposites) -> list[Row]:
    """The rows of the compositing run, and one for each use that a cycle made of its composites."""
    uses = {"joined the dataset's training set": pooled.joined}
    if pooled.made.pool_items:
        uses |= {
            "drawn from the pool by phases": pooled.drawn,
            "samples that grew from one": pooled.grown,
        }
    used: list[Row] = [
        {"stage": "in the cycle", "what": what, "count": f"{count:,}"} for what, count in uses.items()
    ]
    return compositing_rows(pooled.made) + used


def reject_rows(rejects: Mapping[str, int]) -> list[Row]:
    """Rejects by reason, the commonest first."""
    ordered = sorted(rejects.items(), key=lambda pair: (-pair[1], pair[0]))
    return [{"reason": reason, "count": f"{count:,}"} for reason, count in ordered]


def setting_rows(settings: Mapping[str, object]) -> list[Row]:
    """What the run was asked to do."""
    return [{"setting": name, "value": str(value)} for name, value in settings.items()]


# A comparison's tables as rows of text, the same for the terminal, the page and Prefect.


def mean_rows(methods: Sequence[MethodResult]) -> list[Row]:
    """A row a metric, a column a method: mean and 95 % interval."""
    return [
        {
            "metric": spec.heading,
            **{method.method: mean_words(spec, method.means.get(name)) for method in methods},
        }
        for name, spec in all_specs().items()
        if any(name in method.means for method in methods)
    ]


def difference_rows(differences: Sequence[MethodDifference]) -> list[Row]:
    """A row a metric, a column a method: its mean difference from the first method, and interval."""
    return [
        {
            "metric": spec.heading,
            **{
                difference.method: difference_words(spec, difference.differences.get(name))
                for difference in differences
            },
        }
        for name, spec in all_specs().items()
        if any(name in difference.differences for difference in differences)
    ]


def left_out_rows(comparison: Comparison) -> list[Row]:
    """What was not measured, why, and what to do to have it."""
    return [
        {"metric": metric.title, "reason": metric.reason, "to have it": metric.fix}
        for metric in comparison.left_out
    ]


def definition_rows(comparison: Comparison) -> list[Row]:
    """What each metric measured here is."""
    measured = {name for method in comparison.methods for name in method.means}
    return [
        {"metric": spec.title, "definition": spec.definition}
        for name, spec in all_specs().items()
        if name in measured
    ]


def mean_words(spec: MetricSpec, interval: Interval | None) -> str:
    """``31.20 [30.10, 32.30]``, in the table's unit; a dash where the metric is undefined throughout."""
    return "–" if interval is None else _words(spec, interval, "")


def difference_words(spec: MetricSpec, interval: Interval | None) -> str:
    """``+1.20 [+0.90, +1.50]``; a dash where there is no image to compare on."""
    return "–" if interval is None else _words(spec, interval, "+")


def _words(spec: MetricSpec, interval: Interval, sign: str) -> str:
    mean, low, high = (
        f"{number * spec.shown_times:{sign}.{spec.digits}f}"
        for number in (interval.mean, interval.low, interval.high)
    )
    return f"{mean} [{low}, {high}]"


# The papers' tables, published figures marked as such, with our rows below: as data, text and Markdown.

PUBLISHED_FILE = Path(__file__).with_name("published_tables.json")
ROUNDS = "rorem-1"
"""The table whose rows are steps of the rounds; in the others they are methods."""
FIGURES = "figures"
"""Heading of the column that says whose figures they are."""
_NOT_COMPARABLE = frozenset({"clip"})
"""Columns in which our metric of that name is another one (docs/guides/evaluation.md)."""


def published_tables() -> list[PaperTable]:
    """The tables as published, without rows of ours."""
    return [PaperTable.model_validate(table) for table in json.loads(PUBLISHED_FILE.read_text("utf-8"))]


def paper_tables(comparison: Comparison, phases: Sequence[PhaseResult]) -> list[PaperTable]:
    """Every table with our rows: the phases of this workspace's cycles, or the methods measured here."""
    places = dict.fromkeys(phase.measured_on for phase in phases if phase.psnr is not None)
    tables = []
    for table in published_tables():
        if table.key == ROUNDS:
            rows = [_phase_row(phase) for phase in phases]
            measured_on = (", ".join(places) or "the test images of its own cycle") if rows else ""
        else:
            rows = [_method_row(method, table.columns) for method in comparison.methods]
            measured_on = comparison.measured_on
        tables.append(table.model_copy(update={"measured_on": measured_on, "rows": [*table.rows, *rows]}))
    return tables


def _phase_row(phase: PhaseResult) -> PaperRow:
    counted = {"tested": phase.tested, "kept": phase.kept, "total": phase.total}
    numbers = {name: float(count) for name, count in counted.items() if count}
    numbers["success"] = 100 * phase.success_rate
    if phase.psnr is not None:
        numbers["psnr"] = phase.psnr
    return PaperRow(name=phase.name, figures="here", numbers=numbers)


def _method_row(method: MethodResult, columns: Sequence[PaperColumn]) -> PaperRow:
    means = {name: interval.mean for name, interval in method.means.items()}
    known_here: dict[str, float] = {name: mean for name, mean in means.items() if name not in _NOT_COMPARABLE}
    known_here |= {"success": 100 * method.success_rate, "seconds": method.seconds_per_image}
    numbers = {}
    for column in columns:
        if column.name in known_here:
            factor = 100 if "×100" in column.heading else 1
            numbers[column.name] = factor * known_here[column.name]
    return PaperRow(name=method.method, figures="here", numbers=numbers)


def paper_rows(table: PaperTable) -> list[Row]:
    """A table as rows of text; what is not known is left blank."""
    return [
        {
            table.first: row.name,
            FIGURES: row.figures,
            **{
                column.heading: f"{row.numbers[column.name]:,.{column.digits}f}"
                if column.name in row.numbers
                else ""
                for column in table.columns
            },
        }
        for row in table.rows
    ]


def small_print(table: PaperTable) -> list[str]:
    """What must be known to read a table: sources, images, and what keeps the two kinds of row apart."""
    said = [f"Published figures: {table.source}; on {table.published_on}."]
    if table.measured_on:
        said.append(
            f"Ours: on {table.measured_on}. These are other images, so the two kinds of row say nothing "
            "of each other."
        )
        said += [f"{column.heading}: {column.note}." for column in table.columns if column.note]
    return said


def as_markdown(tables: Sequence[PaperTable]) -> str:
    """All tables as one Markdown page."""
    parts = ["# The papers' tables, with ours beside"]
    for table in tables:
        rows = paper_rows(table)
        headings = list(rows[0])
        lines = [headings, [":--" if name in (table.first, FIGURES) else "--:" for name in headings]]
        lines += [[cell.replace("|", "\\|") for cell in row.values()] for row in rows]
        parts.append(f"## {table.title}")
        parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
        parts.append("\n".join(f"- {sentence}" for sentence in small_print(table)))
    return "\n\n".join(parts) + "\n"
