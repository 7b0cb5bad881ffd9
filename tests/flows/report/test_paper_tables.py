"""The papers' tables: the published figures agree with themselves, and ours are never mistaken for them."""

import pytest

from data_specs.comparison import Comparison, Interval, MethodResult, PaperTable
from data_specs.round import PhaseResult
from flows.report.tables import as_markdown, paper_rows, paper_tables, published_tables, small_print


def table_of(tables: list[PaperTable], key: str) -> PaperTable:
    (table,) = [each for each in tables if each.key == key]
    return table


def mean(value: float) -> Interval:
    return Interval(mean=value, low=value, high=value, images=5)


@pytest.fixture
def ours() -> list[PaperTable]:
    champion = MethodResult(
        method="champion",
        model_hash="h",
        images=5,
        means={"psnr": mean(31.256), "psnr_bg": mean(40.0), "lpips": mean(0.0314), "clip": mean(0.91)},
        success_rate=0.4,
        seconds_per_image=0.125,
    )
    comparison = Comparison(
        measured_on="workspace w, dataset version 3, test split",
        dataset_version=3,
        methods=[champion],
        differences=[],
        left_out=[],
        rejects={},
        results="r",
        report="p",
    )
    measured = {"psnr": 29.5, "measured_on": "test split, studio:"}
    human = phase("human 1", 600, 311, 811, 0.4).model_copy(update=measured)
    return paper_tables(comparison, [phase("base model", 0, 0, 0, 0.12), human])


def phase(name: str, tested: int, kept: int, total: int, rate: float) -> PhaseResult:
    return PhaseResult(
        name=name, kind="human", tested=tested, kept=kept, total=total, success_rate=rate, success_low=0,
        success_high=1, psnr_effect=20, psnr_background=30, promoted=True, reason="", seconds=1,
    )  # fmt: skip


def test_the_rounds_add_up_and_end_where_the_methods_table_begins() -> None:
    tables = published_tables()
    rounds = [row.numbers for row in table_of(tables, "rorem-1").rows]
    for before, after in zip(rounds[1:], rounds[2:], strict=False):
        assert after["total"] == before["total"] + after["kept"]
    rates = [numbers["success"] for numbers in rounds]
    assert rates == sorted(rates)
    kept = {numbers["tested"]: numbers["kept"] for numbers in rounds if "tested" in numbers}
    shares = [round(100 * kept[tested] / tested, 1) for tested in (30_000, 80_000, 95_204)]
    assert shares == [68.8, 63.9, 51.8], "the automated keep rate that the paper's reader is told of"
    (final,) = [row.numbers for row in table_of(tables, "rorem-2").rows if row.name == "RORem"]
    assert (final["success"], final["psnr"]) == (rounds[-1]["success"], rounds[-1]["psnr"])
    for row in table_of(tables, "rorem-2").rows:
        assert (row.numbers["success"] * 5) == pytest.approx(round(row.numbers["success"] * 5)), row.name


def test_every_published_row_says_so_and_every_number_has_a_column() -> None:
    for table in published_tables():
        assert {row.figures for row in table.rows} == {"published"}
        assert all(set(row.numbers) <= {column.name for column in table.columns} for row in table.rows)
        assert "arXiv" in table.source
    second_hand = table_of(published_tables(), "object-clear-rord")
    assert "not confirmed" in second_hand.source
    assert "second-hand" in second_hand.title


def test_our_rows_stand_below_in_the_papers_units_and_blank_where_unknown(ours: list[PaperTable]) -> None:
    rounds = paper_rows(table_of(ours, "rorem-1"))
    assert rounds[1]["total"] == "61,565"
    here = [row for row in rounds if row["figures"] == "here"]
    assert rounds[-2:] == here
    assert here[0] == {
        "step": "base model", "figures": "here", "tested": "", "kept": "", "total": "",
        "success % ↑": "12.0", "PSNR dB ↑": "",
    }  # fmt: skip
    assert here[1] == {
        "step": "human 1", "figures": "here", "tested": "600", "kept": "311", "total": "811",
        "success % ↑": "40.0", "PSNR dB ↑": "29.50",
    }  # fmt: skip
    methods = paper_rows(table_of(ours, "rorem-2"))[-1]
    assert methods == {
        "method": "champion", "figures": "here", "success % ↑": "40.0", "PSNR dB ↑": "31.26",
        "LPIPS ×100 ↓": "3.14", "DINO ↑": "", "CLIP ↑": "", "seconds ↓": "0.12",
    }  # fmt: skip
    ober = paper_rows(table_of(ours, "object-clear"))[-1]
    assert list(ober.values()) == ["champion", "here", "31.26", "40.00", "0.031"]


def test_the_small_print_keeps_the_two_kinds_of_row_apart(ours: list[PaperTable]) -> None:
    said = " ".join(small_print(table_of(ours, "rorem-2")))
    assert "on the authors' test set at 512 px" in said
    assert "Ours: on workspace w, dataset version 3, test split. These are other images" in said
    assert "ours is of another range and left out here" in said
    assert "Ours: on test split, studio:." in small_print(table_of(ours, "rorem-1"))[1]
    bare = small_print(table_of(published_tables(), "rorem-2"))
    assert len(bare) == 1


def test_markdown_has_every_table_with_its_source(ours: list[PaperTable]) -> None:
    page = as_markdown(ours)
    assert page.count("\n## ") == 4
    assert "| step | figures | tested | kept | total | success % ↑ | PSNR dB ↑ |" in page
    assert "| :-- | :-- | --: | --: | --: | --: | --: |" in page
    assert "| human 3 | published | 10,000 | 6,133 | 150,621 | 71.8 | 28.77 |" in page
    assert "Published figures: RORem (arXiv 2501.00740), table 1" in page
