"""The page of an evaluation: tables and images in one HTML file that asks nothing of any network."""

from collections.abc import Mapping
from pathlib import Path

from data_specs.comparison import Comparison
from flows.report import sheets as grids
from flows.report import tables
from flows.report.cycle_page import TEMPLATES
from tasks.storage.atomic_files import write_durably


def write_comparison_page(path: Path, comparison: Comparison, sample_grids: Mapping[str, bytes]) -> None:
    """Writes the page aside and renames it.

    Args:
        path: Where.
        comparison: What was found.
        sample_grids: Heading to a PNG, as ``grids.draw_methods`` makes it.
    """
    page = TEMPLATES.get_template("comparison.html").render(
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
