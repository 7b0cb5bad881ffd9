"""The report's pages: a cycle and an evaluation as one HTML file each, a day as Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from data_specs.comparison import Comparison
from data_specs.daily_report import DailyReport, Drift
from data_specs.round import CycleResult, DiscriminatorCurves, LossCurve
from flows.report import charts, tables, wording
from flows.report import sheets as grids
from flows.report.svg import STYLE
from flows.report.tables import Row
from tasks.storage.atomic_files import write_durably

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
"""Templates of this folder; what they are given is escaped."""
SLOPPY_GRID = "removals under sloppy masks"
"""The heading of the grid that compares removers under masks as people draw them."""


@dataclass(frozen=True)
class Figure:
    """A headline number: what it is, the number, and a word on it."""

    label: str
    number: str
    note: str


def write_report(
    path: Path,
    result: CycleResult,
    curves: Sequence[DiscriminatorCurves],
    losses: Sequence[LossCurve],
    sample_grids: Mapping[str, bytes],
    sheets: Mapping[str, bytes],
    title: str,
    settings: Mapping[str, object],
) -> None:
    """Writes the page aside and renames it, so that a reader never meets half of one.

    ``sample_grids`` maps a heading to a PNG, as ``grids.draw_grid`` makes it; ``sheets`` those of the
    compositing run, as ``sheets.draw_sheet`` does.
    """
    page = _TEMPLATES.get_template("page.html").render(
        title=title,
        chart_style=Markup(STYLE),
        text_columns=tables.TEXT_COLUMNS,
        figures=headline(result),
        success_sentence=wording.success_sentence(result.phases),
        success_chart=Markup(charts.success_by_phase(result.phases)),
        keep_chart=Markup(charts.keep_rate_by_round(result.phases)),
        phases=tables.phase_rows(result.phases),
        discriminators=tables.discriminator_rows(result.discriminators),
        kept_sets=tables.kept_rows(result.discriminators),
        discriminator_sentences=[
            wording.discriminator_sentence(discriminator) for discriminator in result.discriminators
        ],
        discriminator_charts=[
            (one.round, Markup(charts.score_histogram(one)), Markup(charts.reliability_curve(one)))
            for one in curves
        ],
        grids=[(name, grids.data_uri(png)) for name, png in sample_grids.items() if name != SLOPPY_GRID],
        masks=tables.mask_rows(result.masks),
        masks_sentence=wording.masks_sentence(result.masks),
        masks_grid=grids.data_uri(sample_grids[SLOPPY_GRID]) if SLOPPY_GRID in sample_grids else "",
        composites_sentence=wording.pooled_sentence(result.composites) if result.composites else "",
        composites=tables.pooled_rows(result.composites) if result.composites else [],
        sheets=[(heading, grids.data_uri(png)) for heading, png in sheets.items()],
        clip=tables.clip_rows(result.clip),
        clip_sentence=wording.clip_sentence(result.clip),
        losses=[Markup(charts.loss_curve(curve)) for curve in losses],
        rejects=tables.reject_rows(result.rejects),
        settings=tables.setting_rows(settings),
    )
    write_durably(path, page.encode())


def headline(result: CycleResult) -> list[Figure]:
    """The four numbers a reader wants first."""
    figures = []
    ends = wording.first_and_last(result.phases)
    if ends is not None:
        first, last = ends
        change = f"{first.success_rate:.1%} → {last.success_rate:.1%}"
        figures.append(Figure("Success on the test split", change, f"{first.name} → {last.name}"))
    grown = [phase for phase in result.phases if phase.kind in ("human", "automation")]
    kept, tested = sum(phase.kept for phase in grown), sum(phase.tested for phase in grown)
    version = result.dataset
    samples = f"{version.samples:,} samples in {version.shards:,} shards"
    minutes, seconds = divmod(round(result.seconds), 60)
    return [
        *figures,
        Figure("Candidates kept", f"{kept:,}", f"of {tested:,} answered or scored"),
        Figure("Dataset version", f"{version.version}", samples),
        Figure("Time", f"{minutes} min {seconds:02d} s", f"{result.peak_memory_gb:.1f} GB at its peak"),
    ]


# The page of an evaluation.


def write_comparison_page(path: Path, comparison: Comparison, sample_grids: Mapping[str, bytes]) -> None:
    """Writes the page aside and renames it.

    Args:
        path: Where.
        comparison: What was found.
        sample_grids: Heading to a PNG, as ``grids.draw_methods`` makes it.
    """
    page = _TEMPLATES.get_template("comparison.html").render(
        title="Methods compared on " + comparison.measured_on,
        lead=lead_sentence(comparison),
        text_columns=tables.TEXT_COLUMNS,
        means=tables.mean_rows(comparison.methods),
        differences=tables.difference_rows(comparison.differences),
        baseline=comparison.methods[0].method,
        left_out=tables.left_out_rows(comparison),
        definitions=tables.definition_rows(comparison),
        rejects=tables.reject_rows(comparison.rejects),
        papers=[
            (table.title, tables.paper_rows(table), tables.small_print(table))
            for table in comparison.paper_tables
        ],
        grids=[(heading, grids.data_uri(png)) for heading, png in sample_grids.items()],
    )
    write_durably(path, page.encode())


def lead_sentence(comparison: Comparison) -> str:
    """Who was measured on how many images."""
    count = comparison.methods[0].images
    names = ", ".join(method.method for method in comparison.methods)
    return f"{names}: {count:,} image{'s' if count != 1 else ''} each, means with 95% bootstrap intervals."


# The daily report.


def daily_page(report: DailyReport) -> str:
    """What ran, what was kept and refused, how long, at what cost, how the dataset grew; alarms first."""
    parts = [
        f"# {report.since:%Y-%m-%d %H:%M} to {report.until:%Y-%m-%d %H:%M} UTC",
        "\n".join(f"- {sentence}" for sentence in sentences(report)),
        *_section("What ran", work_rows(report)),
        *_section("Phases", phase_rows(report)),
        *_section("Made", [_made_row(shard.stage, shard.shards, shard.samples) for shard in report.shards]),
        *_section("Refused", [_count_row("reason", why, n) for why, n in report.rejects.items()]),
        *_section("Answers", [_count_row("answer", who, n) for who, n in report.reviews.items()]),
        *_section("Drift", [drift_row(drift) for drift in report.drifts]),
    ]
    return "\n\n".join(parts) + "\n"


def sentences(report: DailyReport) -> list[str]:
    """The few that matter most; alarms before all."""
    said = [f"**Alarm**: {drift_sentence(drift)}" for drift in report.drifts if drift.alarm]
    if not (report.work or report.shards or report.phases):
        return [*said, "Nothing ran."]
    said.append(f"{report.accepted:,} accepted, {_cost_words(report)}.")
    said += [
        f"Dataset version {version.number} has {version.samples:,} samples, {version.grown_by:+,}: "
        f"{version.note}."
        for version in report.versions
    ]
    return said if report.versions else [*said, "The dataset did not grow."]


def _cost_words(report: DailyReport) -> str:
    if not report.cost and any(work.seconds.cpu or work.seconds.gpu for work in report.work):
        return "at no cost, because no price is set"
    price = report.cost_per_accepted
    unit_price = "" if price is None else f", {price:.4g} {report.currency} each"
    return f"for {report.cost:.2f} {report.currency}{unit_price}"


def drift_sentence(drift: Drift) -> str:
    """What is how far from what."""
    return (
        f"the {drift.what} of {drift.phase} is {drift.found:.1%}, of {drift.against} {drift.expected:.1%}: "
        f"{100 * drift.gap:.1f} points apart, {100 * drift.limit:.1f} allowed"
    )


def work_rows(report: DailyReport) -> list[Row]:
    """A row a kind of work, dearest first."""
    return [
        {
            "work": work.what,
            "pieces": f"{work.pieces:,}",
            "hours": _hours(work.seconds.wall),
            "CPU hours": _hours(work.seconds.cpu),
            "GPU hours": _hours(work.seconds.gpu),
            report.currency: f"{work.cost:.2f}",
        }
        for work in sorted(report.work, key=lambda costs: (-costs.cost, -costs.seconds.wall))
    ]


def phase_rows(report: DailyReport) -> list[Row]:
    """A row a phase."""
    return [
        {
            "phase": phase.name,
            "tested": f"{phase.tested:,}",
            "kept": f"{phase.kept:,}",
            "keep rate": f"{phase.kept / phase.tested:.1%}" if phase.tested else "–",
            "success": f"{phase.success_rate:.1%}",
            "remover kept?": "yes" if phase.promoted else "no",
            "minutes": f"{phase.seconds / 60:.1f}",
        }
        for phase in report.phases
    ]


def drift_row(drift: Drift) -> Row:
    """One comparison."""
    return {
        "phase": drift.phase,
        "what": drift.what,
        "is": f"{drift.found:.1%}",
        "against": drift.against,
        "was": f"{drift.expected:.1%}",
        "allowed gap": f"{drift.limit:.1%}",
        "alarm": "yes" if drift.alarm else "no",
    }


def _made_row(stage: str, shards: int, samples: int) -> Row:
    return {"stage": stage, "shards": f"{shards:,}", "samples": f"{samples:,}"}


def _count_row(heading: str, value: str, count: int) -> Row:
    return {heading: value, "count": f"{count:,}"}


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.3f}"


def _section(heading: str, rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Heading and table; nothing where there is nothing to say."""
    if not rows:
        return []
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([_cell(row[name]) for name in names] for row in rows)]
    return [f"## {heading}", "\n".join("| " + " | ".join(line) + " |" for line in lines)]


def _cell(text: str) -> str:
    """A bar would end the cell."""
    return text.replace("|", "\\|")
