"""The quality page: a batch's figures as one small page, made on the server."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tasks.review.quality import batch_quality
from tasks.storage.ledger import Ledger

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def quality_page(ledger: Ledger, batch: str | None, version: str) -> str:
    """The page as HTML; ``version`` is that of the page's files, ``batch`` None where there is none yet."""
    quality = None if batch is None else batch_quality(ledger, batch)
    counts = None if batch is None else ledger.batch_counts(batch)
    return (
        _TEMPLATES.get_template("quality_page.html")
        .render(name=batch, quality=quality, counts=counts, version=version)
        .lstrip()
    )
