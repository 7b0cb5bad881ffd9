"""The table of what either rule keeps, against figures worked out by hand."""

from data_specs.round import DiscriminatorResult, KeptSet
from flows.report.tables import discriminator_rows, kept_rows

RESULT = DiscriminatorResult(
    round=2, reviewed=100, tested=50, precision=0.9, recall=0.5, auc=0.9, base_rate=0.5,
    calibration_error=0.05, success_gap=0.021, success_gap_error=0.014,
    by_score=KeptSet(threshold=0.9, items=40, kept=10, good=9),
    by_purity=KeptSet(threshold=None, items=40, kept=0, good=0),
)  # fmt: skip


def test_either_rule_has_a_row_with_its_purity_and_interval() -> None:
    by_score, by_purity = kept_rows([RESULT])
    assert list(by_score.values())[:7] == [
        "round 2",
        "each above the threshold",
        "0.900",
        "40",
        "10",
        "25.0",
        "90.0",
    ]
    # Wilson's 95 % interval of 9 of 10, as tables give it.
    assert by_score["95% interval of good %"] == "59.6–98.2"
    assert list(by_purity.values())[2:] == ["–", "40", "0", "0.0", "–", "–"]


def test_the_gap_has_its_error_and_results_of_before_have_neither_table_nor_error() -> None:
    assert discriminator_rows([RESULT])[0]["success gap, points"] == "2.1 ± 1.4"
    before = RESULT.model_copy(update={"success_gap_error": None, "by_score": None, "by_purity": None})
    assert discriminator_rows([before])[0]["success gap, points"] == "2.1"
    assert kept_rows([before]) == []
