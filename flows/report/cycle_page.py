"""The report: one self-contained HTML file that asks nothing of any network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from data_specs.round import CycleResult, DiscriminatorCurves, LossCurve
from flows.report import charts, tables, wording
from flows.report import sheets as grids
from flows.report.svg import STYLE
from tasks.storage.atomic_files import write_durably

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
"""Templates of this folder; what they are given is escaped."""


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
    page = render_report(result, curves, losses, sample_grids, sheets, title, settings)
    write_durably(path, page.encode())


def render_report(
    result: CycleResult,
    curves: Sequence[DiscriminatorCurves],
    losses: Sequence[LossCurve],
    sample_grids: Mapping[str, bytes],
    sheets: Mapping[str, bytes],
    title: str,
    settings: Mapping[str, object],
) -> str:
    """The page as text; see ``write_report``."""
    return TEMPLATES.get_template("page.html").render(
        title=title,
        chart_style=Markup(STYLE),
        text_columns=tables.TEXT_COLUMNS,
        figures=headline(result),
        success_sentence=wording.success_sentence(result.phases),
        success_chart=Markup(charts.success_by_phase(result.phases)),
        keep_chart=Markup(charts.keep_rate_by_round(result.phases)),
        phases=tables.phase_rows(result.phases),
        discriminators=tables.discriminator_rows(result.discriminators),
        discriminator_sentences=[
            wording.discriminator_sentence(discriminator) for discriminator in result.discriminators
        ],
        discriminator_charts=[
            (one.round, Markup(charts.score_histogram(one)), Markup(charts.reliability_curve(one)))
            for one in curves
        ],
        grids=[(heading, grids.data_uri(png)) for heading, png in sample_grids.items()],
        composites_sentence=wording.pooled_sentence(result.composites) if result.composites else "",
        composites=tables.compositing_rows(result.composites.made) if result.composites else [],
        sheets=[(heading, grids.data_uri(png)) for heading, png in sheets.items()],
        clip=tables.clip_rows(result.clip),
        clip_sentence=wording.clip_sentence(result.clip),
        losses=[Markup(charts.loss_curve(curve)) for curve in losses],
        rejects=tables.reject_rows(result.rejects),
        settings=tables.setting_rows(settings),
    )


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
