"""The papers' tables, published figures marked as such, with our rows below: as data, text and Markdown."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_specs.comparison import Comparison, MethodResult
from data_specs.paper_table import PaperColumn, PaperRow, PaperTable
from data_specs.round import PhaseResult
from flows.report.tables import Row
from flows.rorem.phase_figures import StepFigures

PUBLISHED_FILE = Path(__file__).with_name("published_tables.json")
ROUNDS = "rorem-1"
"""The table whose rows are steps of the rounds; in the others they are methods."""
FIGURES = "figures"
"""Heading of the column that says whose figures they are."""
_NOT_COMPARABLE = frozenset({"clip"})
"""Columns in which our metric of that name is another one (docs/metrics.md)."""


def published_tables() -> list[PaperTable]:
    """The tables as published, without rows of ours."""
    return [PaperTable.model_validate(each) for each in json.loads(PUBLISHED_FILE.read_text("utf-8"))]


def paper_tables(comparison: Comparison, steps: StepFigures) -> list[PaperTable]:
    """Every table with our rows: the steps of this workspace's cycles, or the methods measured here."""
    tables = []
    for table in published_tables():
        if table.key == ROUNDS:
            rows = [_phase_row(phase, steps.psnr) for phase in steps.results]
            measured_on = (steps.measured_on or "the test pictures of its own cycle") if rows else ""
        else:
            rows = [_method_row(method, table.columns) for method in comparison.methods]
            measured_on = comparison.measured_on
        tables.append(table.model_copy(update={"measured_on": measured_on, "rows": [*table.rows, *rows]}))
    return tables


def _phase_row(phase: PhaseResult, psnr: Mapping[str, float]) -> PaperRow:
    counted = {"tested": phase.tested, "kept": phase.kept, "total": phase.total}
    numbers = {name: float(count) for name, count in counted.items() if count}
    numbers["success"] = 100 * phase.success_rate
    if phase.name in psnr:
        numbers["psnr"] = psnr[phase.name]
    return PaperRow(name=phase.name, figures="here", numbers=numbers)


def _method_row(method: MethodResult, columns: Sequence[PaperColumn]) -> PaperRow:
    known = {name: interval.mean for name, interval in method.means.items()}
    known_here: dict[str, float] = {name: mean for name, mean in known.items() if name not in _NOT_COMPARABLE}
    known_here |= {"success": 100 * method.success_rate, "seconds": method.seconds_per_picture}
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
    """What must be known to read a table: sources, pictures, and what keeps the two kinds of row apart."""
    said = [f"Published figures: {table.source}; on {table.published_on}."]
    if table.measured_on:
        said.append(
            f"Ours: on {table.measured_on}. These are other pictures, so the two kinds of row say nothing "
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
