"""Pictures in Prefect: a sample grid, a chart; apart from the other artifacts, which know every model.

Call these inside a synchronous flow or task run, which the artifacts then belong to.
"""

import re

from prefect.artifacts import create_image_artifact

from flows.report import sheets as grids
from flows.report import svg


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
