import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from data_specs.round import CycleResult, DatasetSummary, DiscriminatorCurves, LossCurve
from flows.report.pages import headline, write_report
from flows.report.sheets import SampleRow, draw_grid

SETTINGS = {"rounds": 2, "seed": 0, "note": "<script>alert(1)</script>"}


class Page(HTMLParser):
    """Rows of every table, sources of every image and the tags seen."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._in_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.rows[-1][-1] += data


@pytest.fixture
def report(
    tmp_path: Path,
    cycle_result: CycleResult,
    curves: list[DiscriminatorCurves],
    losses: list[LossCurve],
    sample_rows: list[SampleRow],
) -> str:
    path = tmp_path / "report.html"
    grids = {"initialisation": draw_grid(sample_rows), "human 2": draw_grid(sample_rows)}
    write_report(
        path, cycle_result, curves, losses, grids, {}, "Two rounds on the studio and a clip", SETTINGS
    )
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"], "nothing is left aside"
    return path.read_text(encoding="utf-8")


def test_nothing_is_asked_of_any_network(report: str) -> None:
    assert re.findall(r"https?://|//[a-z]+\.", report) == []
    page = Page(report)
    addresses = [value for _, attrs in page.tags for name, value in attrs.items() if name in ("src", "href")]
    assert addresses
    assert all(str(address).startswith("data:image/png;base64,") for address in addresses)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}


def test_the_phases_are_rorems_table(report: str) -> None:
    rows = Page(report).rows
    assert rows[0][:6] == ["phase", "tested", "kept", "total", "success %", "95% interval"]
    assert rows[1][:6] == ["base model", "–", "–", "–", "8.2", "4.2–12.7"]
    assert rows[4][:6] == ["automation 1", "1,200", "402", "1,330", "60.4", "56.4–64.9"]
    assert rows[6][8:] == ["no", "0.4 points below the champion", "61"]


def test_the_other_tables_are_there(report: str) -> None:
    rows = Page(report).rows
    assert ["round 2", "1,200", "500", "87.4%", "52.0%", "41.0%", "0.861", "0.027", "4.1"] in rows
    assert ["final", "84", "24.05", "37.90"] in rows
    assert ["right half", "ObjectClear", "40", "29.90", "37.70", "60.0"] in rows
    rejected = [row for row in rows if row[0] in ("camera moved", "mask is empty", "image is 16-bit")]
    assert [row[1] for row in rejected] == ["12", "3", "1"]
    assert ["rounds", "2"] in rows


def test_words_from_outside_stay_words(report: str) -> None:
    assert "<script>" not in report
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in report


def test_images_can_be_read_aloud(report: str) -> None:
    tags = Page(report).tags
    assert all(attrs.get("alt") for tag, attrs in tags if tag == "img")
    charts = [attrs for tag, attrs in tags if tag == "svg"]
    assert len(charts) == 1 + 1 + 4 + 7, "success, keep rate, two a discriminator, seven losses"
    assert all(attrs.get("role") == "img" and attrs.get("aria-label") for attrs in charts)


def test_the_headline_names_champion_growth_and_version(cycle_result: CycleResult) -> None:
    figures = headline(cycle_result)
    assert [figure.number for figure in figures] == ["41.2% → 68.8%", "1,427", "6", "8 min 23 s"]
    assert figures[1].note == "of 3,600 answered or scored"


def test_a_cycle_with_nothing_in_it_still_makes_a_page(tmp_path: Path) -> None:
    empty = CycleResult(
        phases=[],
        discriminators=[],
        clip=[],
        dataset=DatasetSummary(version=0, samples=0, shards=0),
        rejects={},
        seconds=0,
        peak_memory_gb=0,
    )
    write_report(tmp_path / "report.html", empty, [], [], {}, {}, "Nothing", {})
    assert "No phase was run." in (tmp_path / "report.html").read_text(encoding="utf-8")
