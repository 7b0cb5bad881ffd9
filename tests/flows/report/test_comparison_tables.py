import re
from pathlib import Path

import pytest

from data_specs.comparison import Comparison, Interval, MethodDifference, MethodResult, MetricLeftOut
from flows.report.pages import lead_sentence, write_comparison_page
from flows.report.tables import definition_rows, difference_rows, left_out_rows, mean_rows, paper_tables


def interval(mean: float, low: float, high: float) -> Interval:
    return Interval(mean=mean, low=low, high=high, images=7)


@pytest.fixture
def comparison() -> Comparison:
    telea = MethodResult(
        method="telea",
        model_hash="t",
        images=7,
        means={"lpips": interval(0.0286, 0.02, 0.04), "psnr": interval(31.104, 29, 33)},
        success_rate=3 / 7,
        seconds_per_image=0.125,
    )
    other = MethodResult(
        method="<b>",
        model_hash="o",
        images=7,
        means={"psnr": interval(30.08, 28, 31.994)},
        success_rate=0.0,
        seconds_per_image=2.0,
    )
    gap = MethodDifference(method="<b>", baseline="telea", differences={"psnr": interval(-1.024, -2.5, 0.25)})
    return Comparison(
        measured_on="folder pairs, 64 px",
        dataset_version=None,
        methods=[telea, other],
        differences=[gap],
        left_out=[MetricLeftOut(title="DINO", reason="no weights", fix="name some")],
        rejects={"mask is empty": 2},
        results="r.parquet",
        report="r.html",
    )


def test_numbers_are_in_the_papers_units_with_their_intervals(comparison: Comparison) -> None:
    assert mean_rows(comparison.methods) == [
        {"metric": "PSNR dB ↑", "telea": "31.10 [29.00, 33.00]", "<b>": "30.08 [28.00, 31.99]"},
        {"metric": "LPIPS ×100 ↓", "telea": "2.86 [2.00, 4.00]", "<b>": "–"},
    ]
    assert difference_rows(comparison.differences) == [{"metric": "PSNR dB ↑", "<b>": "-1.02 [-2.50, +0.25]"}]


def test_what_is_left_out_and_what_is_measured_are_told_apart(comparison: Comparison) -> None:
    assert left_out_rows(comparison) == [
        {"metric": "DINO", "reason": "no weights", "to have it": "name some"}
    ]
    assert [row["metric"] for row in definition_rows(comparison)] == ["PSNR", "LPIPS"]
    assert lead_sentence(comparison).startswith("telea, <b>: 7 images each")


def test_the_page_shows_the_papers_tables_where_they_were_asked_for(
    comparison: Comparison, tmp_path: Path
) -> None:
    write_comparison_page(tmp_path / "plain.html", comparison, {})
    assert "Beside the papers" not in (tmp_path / "plain.html").read_text()
    asked = comparison.model_copy(update={"paper_tables": paper_tables(comparison, [])})
    write_comparison_page(tmp_path / "asked.html", asked, {})
    page = (tmp_path / "asked.html").read_text()
    assert "RORem, table 2: methods at 512 px" in page
    assert '<td class="words">published</td>' in page
    assert "the two kinds of row say nothing of each other" in page


def test_the_page_holds_it_all_and_escapes_names(comparison: Comparison, tmp_path: Path) -> None:
    write_comparison_page(tmp_path / "report.html", comparison, {"telea: worst": b"\x89PNG"})
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    page = (tmp_path / "report.html").read_text()
    for part in ("31.10 [29.00, 33.00]", "-1.02 [-2.50, +0.25]", "DINO", "mask is empty", "&lt;b&gt;"):
        assert part in page
    assert "<b>" not in page
    assert 'src="data:image/png;base64,' in page
    assert re.findall(r"https?://|//[a-z]+\.", page) == []
